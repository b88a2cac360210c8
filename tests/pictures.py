"""Takes the pictures of docs/inspector.md: make pictures."""

import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import expect

from tests.browser import chromium
from tests.inspected import KEY, inspected

PLACE = Path(__file__).parent.parent / "docs" / "images"
_COLOURS = 256

# Nobody's temporary folder stands in a picture.
_TIDY = """(folder) => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) walker.currentNode.data = walker.currentNode.data.replaceAll(folder, "/srv/shop");
}"""


def main():
    PLACE.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, inspected(Path(folder)) as gateway, chromium() as browser:
        for _ in range(2):  # the first request pays for what is made once
            _requests(gateway)
        _take(browser, gateway, "inspector-light", "light", lambda page: _choose(page, "POST /shop/orders, 200"))
        _take(browser, gateway, "inspector-dark", "dark", lambda page: _choose(page, "POST /shop/orders, 500"))
        _take(browser, gateway, "inspector-again", "light", _again)
        _take(browser, gateway, "inspector-narrow", "dark", lambda page: _choose(page, "POST /shop/orders, 200"), 800)


def _requests(gateway):
    gateway.ask("/open/health")
    gateway.ask("/shop/orders/7", X_From="nobody")
    gateway.ask("/shop/orders", '["id", 7]', Authorization=f"Bearer {KEY}", X_From="Grace")
    gateway.order("/shop/orders/7?currency=EUR", method="PUT", X_From="Ada")
    gateway.ask("/shops")
    gateway.ask("/shop/orders/7", Authorization=f"Bearer {KEY}", X_From="Ada")
    gateway.order(X_From="Ada")


def _choose(page, name):
    page.get_by_role("option", name=name).first.click()
    expect(page.locator(".step").last).to_be_visible()


def _again(page):
    _choose(page, "PUT /shop/orders/7")
    page.keyboard.press("r")
    page.get_by_label("Method").focus()


def _take(browser, gateway, name, scheme, prepare, width=1280):
    with browser.new_context(viewport={"width": width, "height": 800}, color_scheme=scheme) as context:
        page = context.new_page()
        page.goto(gateway.page)
        expect(page.get_by_role("status")).to_have_text("live")
        prepare(page)
        page.evaluate(_TIDY, str(gateway.folder))
        file = PLACE / f"{name}.png"
        page.screenshot(path=file, animations="disabled")
    with Image.open(file) as image:
        image.convert("RGB").quantize(_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    print(file.relative_to(PLACE.parent.parent), file.stat().st_size)


if __name__ == "__main__":
    main()
