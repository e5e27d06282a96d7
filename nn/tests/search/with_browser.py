"""Opens a report in Chromium and looks at it as a reader would: light and dark, on a telephone and on a desk.

    python with_browser.py REPORT [DIRECTORY]   needs playwright, and CHROMIUM if it is not /usr/bin/chromium

Prints what is wrong and fails, or one line for each of the four looks. Pictures go into the directory.
"""

import os
import pathlib
import sys

from playwright.sync_api import sync_playwright

LOOK = """() => {
    const wrong = [];
    const sees = (a, b) => Math.min(a.right, b.right) - Math.max(a.left, b.left) > 1
        && Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top) > 3;
    if (document.documentElement.scrollWidth > innerWidth) wrong.push('the page scrolls sideways');
    const charts = [...document.querySelectorAll('svg')];
    for (const [number, svg] of charts.entries()) {
        const frame = svg.getBoundingClientRect();
        if (frame.width < 200 || frame.height < 100) wrong.push(`drawing ${number} is tiny`);
        const texts = [...svg.querySelectorAll('text')];
        const boxes = texts.map((text) => text.getBoundingClientRect());
        for (const [index, box] of boxes.entries()) {
            const text = `"${texts[index].textContent}" of drawing ${number}`;
            if (box.left < frame.left - 1 || box.right > frame.right + 1
                || box.top < frame.top - 1 || box.bottom > frame.bottom + 1) {
                wrong.push(`${text} is cut off`);
            }
            const other = boxes.findIndex((box2, later) => later > index && sees(box, box2));
            if (other >= 0) wrong.push(`${text} lies on "${texts[other].textContent}"`);
        }
    }
    for (const cell of document.querySelectorAll('td, th')) {
        const words = document.createRange();
        words.selectNodeContents(cell);
        if (!/\\s/.test(cell.textContent) && words.getClientRects().length > 1) {
            wrong.push(`"${cell.textContent}" is broken in two`);
        }
    }
    const patch = document.body.appendChild(document.createElement('div'));
    patch.style.background = 'Canvas';
    const grey = (colour) => {
        const parts = colour.match(/[\\d.]+/g).slice(0, 3).map(Number);
        const light = parts.map((part) => part / 255)
            .map((part) => part <= 0.04045 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4);
        return 0.2126 * light[0] + 0.7152 * light[1] + 0.0722 * light[2];
    };
    const paper = grey(getComputedStyle(patch).backgroundColor);
    patch.remove();
    const contrast = (colour) => {
        const ink = grey(colour);
        return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
    };
    const least = Math.min(...[...document.querySelectorAll('h1, h2, p, td, th')]
        .map((text) => contrast(getComputedStyle(text).color)),
        ...[...document.querySelectorAll('svg text')].map((text) => contrast(getComputedStyle(text).fill)));
    if (least < 4.5) wrong.push(`contrast of text ${least}`);
    return { wrong, paper, least, charts: charts.length,
        headings: [...document.querySelectorAll('h2')].map((heading) => heading.textContent) };
}"""


def main():
    report = pathlib.Path(sys.argv[1]).resolve()
    pictures = pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else None
    failed = False
    with sync_playwright() as playwright:
        path = os.environ.get("CHROMIUM", "/usr/bin/chromium")
        browser = playwright.chromium.launch(executable_path=path, args=["--no-sandbox"])
        for scheme in ("light", "dark"):
            for width in (360, 1280):
                page = browser.new_page(color_scheme=scheme, viewport={"width": width, "height": 900})
                page.set_default_timeout(600_000)
                wrong = []
                page.on("console", lambda message: wrong.append(f"console: {message.text}"))
                page.on("request", lambda request: wrong.append(f"asks for {request.url}")
                        if request.url != report.as_uri() else None)
                page.goto(report.as_uri())
                seen = page.evaluate(LOOK)
                wrong += seen["wrong"]
                if (seen["paper"] < 0.5) != (scheme == "dark"):
                    wrong.append(f"paper of lightness {seen['paper']}")
                for heading in ("History", "Importance", "Hyperparameters", "Parallel coordinates", "The best"):
                    if heading not in seen["headings"]:
                        wrong.append(f"no heading {heading}")
                if pictures:
                    page.screenshot(path=pictures / f"report-{scheme}-{width}.png", full_page=True)
                page.close()
                print(f"{scheme} {width}: {seen['charts']} drawings, contrast {seen['least']:.1f}", *wrong, sep="\n  ")
                failed |= bool(wrong)
        browser.close()
    sys.exit(failed)


main()
