"""PDF pages: headings, paragraphs, tables, bars and QR codes in one embedded font, both languages side by side."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from ..host.fonts import NAME, find_font

COLOURS: Mapping[str, str] = {"ALLOW": "#1c6b3c", "ESCALATE": "#d9a520", "DENY": "#a32020"}
_WIDTH = 180.0
"""Millimetres between the margins of an A4 page."""
_LONGEST = 600
"""Characters shown of one cell."""


class Pages:
    """A document under way; `bytes` ends it. The same content gives the same bytes.

    Args:
        title: on top, and the document's name.
        font: a TrueType font, or None to find one.

    Raises:
        ToolError: no font can be had.
    """

    def __init__(self, title: str, font: Path | None = None) -> None:
        from reportlab.lib.styles import ParagraphStyle
        from reportlab.pdfbase import pdfmetrics

        pdfmetrics.registerFont(find_font(font))
        self._title = title
        self._flow: list[Any] = []
        base = {"fontName": NAME, "wordWrap": "CJK", "textColor": "#1f2429"}
        self._styles = {
            "text": ParagraphStyle("text", fontSize=8.5, leading=12, spaceAfter=4, **base),
            "cell": ParagraphStyle("cell", fontSize=7, leading=9, **base),
            "h1": ParagraphStyle("h1", fontSize=15, leading=20, spaceAfter=6, **base),
            "h2": ParagraphStyle(
                "h2", fontSize=11, leading=15, spaceBefore=10, spaceAfter=4, keepWithNext=1, **base
            ),
        }
        self._paragraph(title, "h1")

    def heading(self, words: str) -> None:
        """Begin a part."""
        self._paragraph(words, "h2")

    def text(self, words: str) -> None:
        """Add a paragraph."""
        self._paragraph(words, "text")

    def _paragraph(self, words: str, style: str) -> None:
        from reportlab.platypus import Paragraph

        self._flow.append(Paragraph(escape(words), self._styles[style]))

    def table(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Add rows of equal keys as a table with a head; says so when there are none."""
        if not rows:
            return self.text("ありません / none")
        self._grid([list(rows[0]), *(list(map(_told, row.values())) for row in rows)], head=True)
        return None

    def pairs(self, pairs: Mapping[str, Any]) -> None:
        """Add names and values; says so when there are none."""
        if not pairs:
            return self.text("ありません / none")
        self._grid([[k, _told(v)] for k, v in pairs.items()], head=False)
        return None

    def _grid(self, cells: Sequence[Sequence[str]], head: bool) -> None:
        from reportlab.lib.units import mm
        from reportlab.platypus import Paragraph, Table

        style = self._styles["cell"]
        made = [[Paragraph(escape(str(c)[:_LONGEST]), style) for c in row] for row in cells]
        columns = len(cells[0])
        widths = (
            [60 * mm, (_WIDTH - 60) * mm] if columns == 2 and not head else [_WIDTH / columns * mm] * columns
        )
        lines = [("LINEBELOW", (0, 0), (-1, -1), 0.3, "#dfe3e8"), ("VALIGN", (0, 0), (-1, -1), "TOP")]
        if head:
            lines.append(("BACKGROUND", (0, 0), (-1, 0), "#eef1f4"))
        self._flow.append(Table(made, colWidths=widths, style=lines, repeatRows=int(head), hAlign="LEFT"))

    def stacked(self, days: Mapping[str, Mapping[str, int]]) -> None:
        """Draw one bar a day, in the colours of the decisions, with their legend."""
        from reportlab.graphics.charts.barcharts import VerticalBarChart
        from reportlab.graphics.charts.legends import Legend
        from reportlab.graphics.shapes import Drawing
        from reportlab.lib.colors import HexColor
        from reportlab.lib.units import mm

        drawing, chart = Drawing(_WIDTH * mm, 55 * mm), VerticalBarChart()
        chart.x, chart.y, chart.width, chart.height = 12 * mm, 14 * mm, (_WIDTH - 20) * mm, 36 * mm
        chart.data = [[day[d] for day in days.values()] for d in COLOURS]
        chart.categoryAxis.style = "stacked"
        # Of many days only some are named: names must not overlap.
        every = max(1, len(days) // 15)
        chart.categoryAxis.categoryNames = [d[5:] if i % every == 0 else "" for i, d in enumerate(days)]
        chart.valueAxis.valueMin = 0
        for axis in (chart.categoryAxis, chart.valueAxis):
            axis.labels.fontName, axis.labels.fontSize = NAME, 6
        for i, colour in enumerate(COLOURS.values()):
            chart.bars[i].fillColor, chart.bars[i].strokeColor = HexColor(colour), None
        legend = Legend()
        legend.x, legend.y, legend.fontName, legend.fontSize = 12 * mm, 6 * mm, NAME, 6
        legend.alignment, legend.columnMaximum = "right", 1
        legend.colorNamePairs = [(HexColor(c), d) for d, c in COLOURS.items()]
        drawing.add(chart)
        drawing.add(legend)
        self._flow.append(drawing)

    def bars(self, values: Mapping[str, float], limit: float | None = None) -> None:
        """Draw horizontal bars, each with its value in percent; `limit` is a red line."""
        from reportlab.graphics.shapes import Drawing, Line, Rect, String
        from reportlab.lib.colors import HexColor
        from reportlab.lib.units import mm

        high = len(values) * 5.0 + 2
        most = max([*values.values(), limit or 0.0, 1e-9])
        drawing = Drawing(_WIDTH * mm, high * mm)
        for i, (name, value) in enumerate(values.items()):
            y, long = (high - 5.0 * (i + 1)) * mm, 105 * value / most * mm
            drawing.add(String(0, y + 1 * mm, name, fontName=NAME, fontSize=7))
            drawing.add(Rect(50 * mm, y, long, 3.4 * mm, fillColor=HexColor("#1d5c8f"), strokeColor=None))
            drawing.add(String(52 * mm + long, y + 1 * mm, f"{value:.2%}", fontName=NAME, fontSize=6.5))
        if limit is not None:
            x = (50 + 105 * limit / most) * mm
            drawing.add(Line(x, 0, x, high * mm, strokeColor=HexColor("#a32020"), strokeDashArray=(3, 2)))
        self._flow.append(drawing)

    def qr(self, text: str, side: float = 70.0) -> None:
        """Draw a QR code of a text, `side` millimetres wide, readable with 15 % of it lost."""
        from reportlab.graphics.barcode.qr import QrCodeWidget
        from reportlab.graphics.shapes import Drawing
        from reportlab.lib.units import mm

        drawing = Drawing(side * mm, side * mm)
        drawing.add(QrCodeWidget(text, barWidth=side * mm, barHeight=side * mm, barLevel="M"))
        self._flow.append(drawing)

    def bytes(self) -> bytes:
        """Lay everything out on A4 and return the PDF."""
        from reportlab.lib.pagesizes import A4
        from reportlab.lib.units import mm
        from reportlab.platypus import SimpleDocTemplate

        out = io.BytesIO()
        margins = dict.fromkeys(("leftMargin", "rightMargin", "topMargin", "bottomMargin"), 15 * mm)
        made = SimpleDocTemplate(
            out, pagesize=A4, title=self._title, author="Sekisho", invariant=1, lang="ja", **margins
        )
        made.build(self._flow, onFirstPage=_foot, onLaterPages=_foot)
        return out.getvalue()


def _told(value: Any) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_told, value))
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _foot(canvas: Any, document: Any) -> None:
    canvas.setFont(NAME, 7)
    canvas.drawRightString(document.pagesize[0] - 42, 26, str(document.page))
