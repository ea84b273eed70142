"""The journal: what was measured is found again, whole or not at all."""

from edgec.quantization.journal import Journal


def asked(journal, question, answer):
    measured = []
    found, known = journal.recall(question, lambda: measured.append(1) or answer)
    assert known != bool(measured)
    return found, known


def test_what_was_measured_is_not_measured_again(tmp_path):
    first = Journal(tmp_path / "journal")
    assert asked(first, {"recipe": 1}, {"loss": 0.1}) == ({"loss": 0.1}, False)
    assert asked(first, {"recipe": 1}, {"loss": 9.0}) == ({"loss": 0.1}, True)
    assert asked(Journal(tmp_path / "journal"), {"recipe": 1}, {"loss": 9.0}) == ({"loss": 0.1}, True)
    assert asked(first, {"recipe": 2}, {"loss": 0.2}) == ({"loss": 0.2}, False)


def test_numbers_come_back_to_the_last_bit(tmp_path):
    value = 0.1 + 0.2
    asked(Journal(tmp_path), {}, {"loss": value})
    assert asked(Journal(tmp_path), {}, {})[0]["loss"] == value


def test_a_damaged_entry_counts_as_never_written(tmp_path):
    asked(Journal(tmp_path), {}, {"loss": 0.1})
    (entry,) = tmp_path.glob("*.json")
    entry.write_text(entry.read_text()[:-9])
    assert asked(Journal(tmp_path), {}, {"loss": 0.3}) == ({"loss": 0.3}, False)


def test_without_a_folder_it_remembers_for_as_long_as_it_lives():
    journal = Journal()
    asked(journal, {}, {"loss": 0.1})
    assert asked(journal, {}, {"loss": 0.3})[1]
    assert not asked(Journal(), {}, {"loss": 0.3})[1]
