"""The report of one build: HTML for people, Markdown for pull requests, JSON for programs.

It says in this order: what came out, whether it holds, how fast and how small it is; then the evidence. Rendering is a
pure function of what the stages left behind; it reads no file, imports neither numpy nor any native library, and makes
one self-contained page without scripts or references to the network.
"""

from edgec.report.documents import render_json
from edgec.report.html import render_html
from edgec.report.inputs import ReportInputs
from edgec.report.markdown import render_markdown

__all__ = ["ReportInputs", "render_html", "render_json", "render_markdown"]
