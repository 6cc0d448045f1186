"""What a figure shows: its texts, and where they are."""


def texts(figure):
    from matplotlib.text import Text

    return [text.get_text() for text in figure.findobj(Text) if text.get_text()]


def boxes(figure, *kinds):
    """Extents of the drawn texts and legends of the figure."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [a for a in figure.findobj(lambda a: isinstance(a, kinds)) if a.get_visible()]
    return [a.get_window_extent(canvas.get_renderer()) for a in found]
