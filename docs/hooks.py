"""What mkdocs calls while it builds the site: code is run, records are put in, formulas drawn."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import latex2mathml.converter
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT))

from docs import blocks, includes, pictures  # noqa: E402
from kdediff_jax.results import provenance  # noqa: E402

FORMULA = re.compile(
    r'<(?P<tag>span|div) class="arithmatex">\\[(\[](?P<latex>.*?)\\[)\]]</(?P=tag)>', re.DOTALL
)

OUTSIDE = re.compile(r"<(?:script|img|link|iframe)\b[^>]*(?:src|href)=[\"']?(?:https?:)?//[^>]*>")


def on_files(files, config):
    """Add the pictures: those of the package made here, those of the records as they are."""
    for name, content in pictures.make().items():
        files.append(File.generated(config, f"pictures/{name}", content=content))
    for record in includes.PICTURES:
        files.append(File.generated(config, f"pictures/{record.name}", abs_src_path=str(record)))
    return files


def on_page_markdown(markdown, page, config, files):
    """Run the page's code, show what it prints and draws, and put in what the records say."""
    pieces, done, shown = [], 0, False
    try:
        for ran in blocks.run(markdown, Path(page.file.abs_src_path)):
            shown_code = markdown[done : ran.block.end]
            pieces.append(shown_code.replace("```error\n", _said("raises")))
            done = ran.block.end
            if ran.printed.strip():
                pieces.append(f"\n\n{_said('prints')}{ran.printed.rstrip()}\n```\n")
            for name, content in ran.pictures.items():
                files.append(File.generated(config, f"pictures/{name}", content=content))
                pieces.append(f"\n\n![What the code above draws](pictures/{name})\n")
            shown = shown or bool(ran.printed.strip() or ran.pictures)
    except Exception as error:
        raise PluginError(f"{page.file.src_uri}: {type(error).__name__}: {error}") from error
    pieces.append(markdown[done:])
    if shown:
        pieces.append(
            f"\n\n*What the code prints and draws was made with this page: {_origin()}.*\n"
        )
    return includes.fill("".join(pieces))


def on_page_content(html, page, config, files):
    """Turn formulas into MathML, which browsers draw without a script."""

    def draw(match):
        display = "block" if match["tag"] == "div" else "inline"
        latex = match["latex"].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
        drawn = latex2mathml.converter.convert(latex, display=display)
        return f'<div class="formula">{drawn}</div>' if display == "block" else drawn

    return FORMULA.sub(draw, html)


def on_post_page(output, page, config):
    """Refuse a page that would fetch something from elsewhere when it is read."""
    fetched = OUTSIDE.search(output)
    if fetched:
        raise PluginError(f"{page.file.src_uri}: fetches from elsewhere: {fetched[0]}")
    return output


def _said(title):
    """Return the fence of a block that shows what code said."""
    return f'```{{.text .said title="{title}"}}\n'


def _origin():
    """Return device, versions and commit of this build."""
    known = provenance({}, seed=0)
    device = "CPU" if known["platform"] == "cpu" else f"{known['device']} ({known['platform']})"
    commit, changed, _ = str(known["commit"]).partition("-dirty")
    return f"{device}, jax {known['jax']}, commit {commit[:10]}{changed}"
