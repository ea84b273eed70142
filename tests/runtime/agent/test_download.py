"""Downloads over lines that break, from servers that are wrong: each byte checked, and no more fetched than needed."""

import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgec.runtime.agent import chunks
from edgec.runtime.agent import download as downloading
from edgec.runtime.agent.download import download
from edgec.runtime.agent.fetcher import Fetcher
from edgec.runtime.errors import StorageFailed, Unreachable, Untrusted
from edgec.shipping.repository import chunking
from tests.runtime.agent import servers

SIZE = 400_000


def noise(size, seed=0):
    return np.random.default_rng(seed).integers(0, 256, size, dtype=np.uint8).tobytes()


def index_of(data):
    return chunks.index_from(data, chunking.cuts(data))


@pytest.fixture
def get(tmp_path):
    """Downloads `data` as a device does; the server's folder, the device's, and whoever gave cause for complaint."""
    shelf = tmp_path / "server"
    shelf.mkdir()
    with servers.serving(shelf) as server:

        class Get:
            folder = tmp_path / "downloads"

            def __call__(self, data, index=True, sources=(), size=None, sha256=None):
                (shelf / "file").write_bytes(data)
                files = {}
                for number, each in enumerate(sources):
                    path = tmp_path / f"installed-{number}"
                    path.write_bytes(each)
                    files[hashlib.sha256(each).hexdigest()] = path
                self.fetcher = Fetcher(servers.QUICK)
                return download(
                    self.fetcher,
                    f"{server.url}/file",
                    self.folder,
                    size or len(data),
                    sha256 or hashlib.sha256(data).hexdigest(),
                    index_of(data) if index else None,
                    files,
                )

            @property
            def part(self):
                (found,) = self.folder.glob("*.part")
                return found

        found = Get()
        found.server = server
        yield found


WITH_AND_WITHOUT_INDEX = pytest.mark.parametrize("index", [True, False], ids=["with an index", "without an index"])


@WITH_AND_WITHOUT_INDEX
def test_a_whole_download_is_one_request(get, index):
    data = noise(SIZE)
    done = get(data, index)
    assert done.path.read_bytes() == data
    assert done.path.name == f"{hashlib.sha256(data).hexdigest()}.edgec"
    assert (done.received, done.resumed, done.reused, done.requests) == (SIZE, 0, 0, 1)
    assert get.server.asked == [("file", None)]
    assert not list(get.folder.glob("*.part"))


@WITH_AND_WITHOUT_INDEX
@pytest.mark.parametrize("size", [0, 1, 5000])
def test_small_files(get, index, size):
    assert get(noise(size), index).path.read_bytes() == noise(size)


@WITH_AND_WITHOUT_INDEX
def test_what_is_there_already_is_not_fetched_again(get, index):
    data = noise(SIZE)
    get(data, index)
    get.server.asked.clear()
    again = get(data, index)
    assert (again.received, again.resumed, get.server.asked) == (0, SIZE, [])


def test_what_is_there_already_is_hashed_and_not_believed(get):
    data = noise(SIZE)
    done = get(data)
    done.path.write_bytes(noise(SIZE, 1))
    assert get(data).path.read_bytes() == data


@WITH_AND_WITHOUT_INDEX
def test_a_line_that_breaks_is_tried_again_in_the_same_run(get, index):
    data = noise(SIZE)
    get.server.break_off("file", servers.once(servers.cut_off(150_000), 2))
    done = get(data, index)
    assert done.path.read_bytes() == data
    assert done.received < SIZE + 3 * (32 << 10)  # at most what had not become a whole chunk comes twice
    first, second, third = (span for _, span in get.server.asked)
    assert first is None and second.startswith("bytes=1") and third.startswith(("bytes=2", "bytes=3"))


@WITH_AND_WITHOUT_INDEX
def test_a_lost_network_keeps_the_part_and_the_next_run_goes_on(get, index):
    data = noise(SIZE)
    get.server.break_off("file", servers.first_then(servers.cut_off(250_000), servers.status(503)))
    with pytest.raises(Unreachable, match="can't answer"):
        get(data, index)
    kept = get.part.stat().st_size
    assert 250_000 - (32 << 10) <= kept <= 250_000
    get.server.faults.clear()
    get.server.asked.clear()
    done = get(data, index)
    assert done.path.read_bytes() == data
    assert (done.resumed, done.received) == (kept, SIZE - kept)
    assert get.server.asked == [("file", f"bytes={kept}-{SIZE - 1}")]


def test_a_part_with_an_index_is_believed_up_to_the_first_chunk_that_is_wrong(get):
    data = noise(SIZE)
    get.folder.mkdir()
    part = get.folder / f"{hashlib.sha256(data).hexdigest()}.part"
    part.write_bytes(data[:100_000] + b"?" + data[100_001:200_000])
    done = get(data)
    assert done.path.read_bytes() == data
    assert 100_000 - (32 << 10) <= done.resumed <= 100_000


def test_a_part_without_an_index_that_is_wrong_costs_a_second_download_and_no_more(get, caplog):
    data = noise(SIZE)
    get.folder.mkdir()
    (get.folder / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(noise(100_000, 5))
    done = get(data, index=False)
    assert done.path.read_bytes() == data
    assert "it is fetched whole" in caplog.text


@WITH_AND_WITHOUT_INDEX
def test_a_part_that_is_too_long_is_cut(get, index):
    data = noise(SIZE)
    get.folder.mkdir()
    (get.folder / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(data + b"more")
    done = get(data, index)
    assert done.path.read_bytes() == data
    assert done.received == 0


@WITH_AND_WITHOUT_INDEX
def test_a_server_without_ranges_gives_the_rest_in_a_whole_file(get, index):
    data = noise(SIZE)
    get.folder.mkdir()
    (get.folder / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(data[:200_000])
    get.server.ranges = False
    done = get(data, index)
    assert done.path.read_bytes() == data
    assert (done.requests, done.received) == (1, SIZE)


def test_a_file_that_was_replaced_during_the_download_is_noticed(get):
    """If-Range makes the server send all of the new file; its bytes are not those that were signed."""
    data = noise(SIZE)
    installed = data[:100_000] + noise(100_000, 1) + data[200_000:300_000]
    replaced = servers.instead(noise(SIZE, 8))
    get.server.break_off("file", servers.first_then(servers.Handler.whole_or_range, replaced))
    with pytest.raises(Untrusted, match="not the file that was signed"):
        get(data, sources=[installed])


def test_downloads_of_other_versions_are_removed(get):
    get.folder.mkdir()
    (get.folder / f"{'0' * 64}.part").write_bytes(b"old")
    (get.folder / f"{'1' * 64}.edgec").write_bytes(b"old")
    get(noise(5000))
    assert sorted(path.suffix for path in get.folder.iterdir()) == [".edgec"]


# --- fewer bytes


def test_one_changed_place_costs_its_chunks(get):
    data = noise(SIZE)
    installed = data[:200_000] + noise(4000, 1) + data[204_000:]
    done = get(data, sources=[installed])
    assert done.path.read_bytes() == data
    assert done.received < 60_000
    assert (done.reused, done.requests) == (SIZE - done.received, 1)


def test_an_insertion_moves_the_rest_and_costs_its_chunks(get):
    installed = noise(SIZE)
    data = installed[:100_000] + b"a new line" + installed[100_000:]
    done = get(data, sources=[installed])
    assert done.path.read_bytes() == data
    assert done.received < 40_000


def test_equal_content_costs_nothing(get):
    data = noise(SIZE)
    done = get(data, sources=[noise(1000, 5), data])
    assert (done.received, done.reused, done.requests) == (0, SIZE, 0)


def test_where_all_is_new_the_whole_is_asked_for_at_once(get):
    done = get(noise(SIZE), sources=[noise(SIZE, 1)])
    assert (done.received, done.reused, done.requests) == (SIZE, 0, 1)


def test_many_small_changes_are_few_requests(get):
    data = bytearray(noise(3_000_000))
    installed = bytes(data)
    for place in range(0, len(data), 20_000):
        data[place] ^= 1
    done = get(bytes(data), sources=[installed])
    assert done.path.read_bytes() == data
    assert done.requests <= downloading.MOST_REQUESTS


def test_pieces_are_merged_until_each_is_worth_its_request():
    piece = downloading._Piece
    here = "installed"
    small, large = downloading.REQUEST // 2, downloading.REQUEST * 2
    ends = np.cumsum([100, small, 100, large, 100]).tolist()
    given = [
        piece(0, ends[0]),
        piece(ends[0], ends[1], here, 7),
        piece(ends[1], ends[2]),
        piece(ends[2], ends[3], here, 99),
        piece(ends[3], ends[4]),
    ]
    assert downloading._with_fewer_requests(given) == [
        piece(0, ends[2]),
        piece(ends[2], ends[3], here, 99),
        piece(ends[3], ends[4]),
    ]


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(1, 32 << 10), st.sampled_from(["here", "there", None])), min_size=1, max_size=300),
    st.integers(0, 300),
)
def test_pieces_make_up_what_is_missing_in_their_order_with_few_requests(kinds, begun):
    """Whatever is available where: nothing is left out, nothing comes twice, and copies are of the right chunks."""
    listed = [chunks.Chunk(size, number.to_bytes(16, "big")) for number, (size, _) in enumerate(kinds)]
    places, available = {"here": 0, "there": 5}, {}
    for chunk, (size, source) in zip(listed, kinds, strict=True):
        if source is not None:
            available[chunk.digest] = (source, places[source])
            places[source] += size
    index = chunks.Index(sum(size for size, _ in kinds), "0" * 64, tuple(listed))
    first = sum(size for size, _ in kinds[:begun])
    pieces = downloading._pieces(index.size, first, index, available)
    position = first
    for piece in pieces:
        assert piece.first == position < piece.end
        position = piece.end
    assert position == index.size
    assert sum(piece.source is None for piece in pieces) <= downloading.MOST_REQUESTS
    place = 0
    for chunk in listed:
        for piece in pieces:
            if piece.source is not None and piece.first <= place < piece.end:
                assert available[chunk.digest] == (piece.source, piece.offset + place - piece.first)
        place += chunk.size


def test_an_installed_file_that_is_not_what_it_was_is_not_used(get, caplog):
    """Its index is kept from when it was downloaded; the storage has spoilt it since."""
    installed = noise(SIZE)
    data = installed[:300_000] + b"new" + installed[300_000:]
    get.folder.mkdir()
    spoilt = installed[:50_000] + b"?" + installed[50_001:]
    (get.folder / f"{hashlib.sha256(spoilt).hexdigest()}.chunks").write_bytes(index_of(installed).pack())
    done = get(data, sources=[spoilt])
    assert done.path.read_bytes() == data
    assert "has changed since it was installed" in caplog.text


def test_a_delta_that_broke_off_goes_on_with_what_it_has(get):
    data = noise(SIZE)
    installed = data[:50_000] + noise(200_000, 1) + data[250_000:]
    get.server.break_off("file", servers.first_then(servers.cut_off(100_000), servers.status(503)))
    with pytest.raises(Unreachable):
        get(data, sources=[installed])
    kept = get.part.stat().st_size
    assert kept > 100_000
    get.server.faults.clear()
    done = get(data, sources=[installed])
    assert done.path.read_bytes() == data
    assert done.resumed == kept
    assert done.received < 250_000 - kept + (64 << 10)


# --- attacks


@WITH_AND_WITHOUT_INDEX
def test_a_changed_byte_is_refused(get, index):
    get.server.break_off("file", servers.changed)
    with pytest.raises(Untrusted, match="not the file that was signed") as refusal:
        get(noise(SIZE), index)
    assert ("Bytes 1" in refusal.value.why) is index
    assert not list(get.folder.glob("*.edgec"))
    get.server.faults.clear()
    assert get(noise(SIZE), index).path.read_bytes() == noise(SIZE)


@WITH_AND_WITHOUT_INDEX
def test_another_file_of_the_same_length_is_refused(get, index):
    get.server.break_off("file", servers.instead(noise(SIZE, 1)))
    with pytest.raises(Untrusted, match="not the file that was signed"):
        get(noise(SIZE), index)


@WITH_AND_WITHOUT_INDEX
def test_an_endless_download_is_ended(get, index):
    get.server.break_off("file", servers.endless)
    with pytest.raises(Untrusted, match="longer than it may be"):
        get(noise(SIZE), index)
    assert get.server.sent < 20 << 20  # what fits in the buffers between the two
    assert sum(path.stat().st_size for path in get.folder.iterdir()) <= SIZE


@pytest.mark.parametrize("fault", [servers.announced_too_long, servers.shortened])
def test_another_length_is_refused_before_a_byte_is_taken(get, fault):
    get.server.break_off("file", fault)
    with pytest.raises(Untrusted, match="another length than the file that was signed"):
        get(noise(SIZE))
    assert get.fetcher.received == 0


def test_a_file_that_became_shorter_is_refused_in_the_middle(get):
    data = noise(SIZE)
    get.folder.mkdir()
    (get.folder / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(data[:300_000])
    get.server.break_off("file", servers.shortened)
    with pytest.raises(Untrusted, match="another length than the file that was signed"):
        get(data)


def test_a_slow_server_is_given_up(get):
    get.server.break_off("file", servers.slow)
    with pytest.raises(Unreachable, match="too slow") as refusal:
        get(noise(SIZE))
    assert "50000 bytes a second" in refusal.value.why


def test_a_server_that_falls_silent_is_given_up(get):
    get.server.break_off("file", servers.silent)
    with pytest.raises(Unreachable, match="fell silent"):
        get(noise(SIZE))
    assert get.part.stat().st_size > 0


def test_a_part_that_was_not_asked_for_is_refused(get):
    data = noise(SIZE)
    get.folder.mkdir()
    (get.folder / f"{hashlib.sha256(data).hexdigest()}.part").write_bytes(data[:300_000])
    get.server.break_off("file", servers.wrong_range)
    with pytest.raises(Unreachable, match="another part"):
        get(data)


def test_a_signed_file_that_is_not_there_says_so(get):
    get.server.break_off("file", servers.status(404))
    with pytest.raises(Unreachable, match="The repository is not complete"):
        get(noise(5000))


# --- the storage


def test_room_is_asked_for_before_a_byte_is_taken(get, monkeypatch):
    monkeypatch.setattr(downloading, "free_bytes", lambda folder: downloading.RESERVE + SIZE - 1)
    with pytest.raises(StorageFailed, match="no room for the download"):
        get(noise(SIZE))
    assert get.server.asked == []


def test_a_storage_that_fills_up_is_given_back_what_the_part_took(get, monkeypatch):
    write, taken = downloading.os.pwrite, []

    def full(descriptor, content, place):
        taken.append(len(content))
        if sum(taken) > 100_000:
            raise OSError(28, "No space left on device")
        return write(descriptor, content, place)

    monkeypatch.setattr(downloading.os, "pwrite", full)
    with pytest.raises(StorageFailed, match="storage is full"):
        get(noise(SIZE))
    assert not list(get.folder.glob("*.part"))
