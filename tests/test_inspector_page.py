"""The inspector's page, clicked through in Chromium."""

import json
import re

import pytest
from playwright.sync_api import expect

from tests.browser import chromium
from tests.inspected import KEY, PLUGIN, inspected

pytestmark = [pytest.mark.once, pytest.mark.plain]  # a browser is no program for sanitizers


@pytest.fixture(scope="module")
def browser():
    with chromium() as started:
        yield started


@pytest.fixture(scope="module")
def gateway(tmp_path_factory):
    with inspected(tmp_path_factory.mktemp("inspected")) as started:
        yield started


@pytest.fixture(scope="module")
def tab(browser, gateway):
    with browser.new_context() as context:
        context.set_default_timeout(20_000)
        opened = context.new_page()
        opened.complaints = []
        opened.on("console", lambda message: opened.complaints.append(message.text))
        opened.on("pageerror", lambda error: opened.complaints.append(str(error)))
        yield opened


@pytest.fixture
def page(tab, gateway):
    """The page as it is at first, without requests. Nothing may go wrong that only the console tells."""
    tab.complaints.clear()
    tab.set_viewport_size({"width": 1280, "height": 800})
    tab.emulate_media(color_scheme="light")
    tab.goto(gateway.page)
    expect(tab.get_by_role("status")).to_have_text("live")
    tab.get_by_role("button", name="Clear").click()
    expect(tab.get_by_role("option")).to_have_count(0)
    yield tab
    tab.evaluate("() => localStorage.clear()")
    assert [words for words in tab.complaints if "422" not in words] == []  # a refusal of the form's is no fault


def options(page):
    return page.get_by_role("option")


def sent(page, send, *arguments, **options_):
    """Send a request, and wait until the page has all of it; gives its status."""
    count = options(page).count()
    status, _ = send(*arguments, **options_)
    expect(options(page)).to_have_count(count + 1)
    expect(options(page).first.locator(".time")).not_to_have_text("…")
    return status


def open_all(page):
    """Open each step of the detail."""
    for item in page.locator(".step").all():
        if item.get_attribute("open") is None:
            item.locator("summary").click()


def step(page, name):
    """The step of a hook, or of client and upstream."""
    return page.locator(f'.step[data-name="{name}"]')


def diff(page, name):
    """What a hook changed: signs and texts."""
    rows = [row.inner_text() for row in step(page, name).locator(".diff").all()]
    return [text.replace("\n", " ").replace("\N{MINUS SIGN}", "-") for text in rows]


def test_a_request_shows_up_when_it_comes(page, gateway):
    expect(page.get_by_text("Requests show up here as they come.")).to_be_visible()
    assert sent(page, gateway.order, "/shop/orders?x=1") == 200
    row = options(page).first
    expect(row).to_have_accessible_name(re.compile(r"^POST /shop/orders\?x=1, 200, [\d.]+ (ms|µs|s)$"))
    assert sent(page, gateway.ask, "/nowhere") == 404
    expect(options(page)).to_have_count(2)
    expect(options(page).first).to_have_accessible_name(re.compile("^GET /nowhere, 404"))


def test_its_detail_has_what_each_hook_changed_and_said(page, gateway):
    sent(page, gateway.order)
    options(page).first.click()
    expect(page.get_by_role("heading", name="POST /shop/orders")).to_be_visible()
    assert [item.get_attribute("data-name") for item in page.locator(".step").all()] == [
        *("sends the request", "Stamp", "Check", "Price", "200", "Label", "gets 200"),
    ]  # fmt: skip
    assert diff(page, "Stamp") == ['+ set_headers["X-Stamp"] 42', '+ delete_headers ["X-Debug"]']
    assert "session.alias ada" in " ".join(diff(page, "Check"))
    assert [line for line in diff(page, "Price") if "price" in line] == ['+   "price": 37.5']
    assert diff(page, "Price")[0] == '- {"id": 7, "count": 3}'
    assert diff(page, "Label") == ['+ headers["X-Shop"] open']
    expect(step(page, "Stamp").get_by_role("group", name="Log")).to_have_text("infoan order from somewhere")
    expect(step(page, "Price").get_by_role("group", name="Log")).to_have_text("printpricing 3 pieces")
    expect(step(page, "Stamp").locator("summary")).to_contain_text("python")


def test_the_waterfall_has_the_hooks_where_they_ran(page, gateway):
    sent(page, gateway.order)
    options(page).first.click()
    bars = page.locator(".track .span")
    expect(bars).to_have_count(5)
    lefts = [bar.bounding_box()["x"] for bar in bars.all()]
    assert lefts == sorted(lefts)
    document = page.evaluate(
        "(number) => fetch(`requests/${number}`).then((answer) => answer.json())",
        options(page).first.get_attribute("id").removeprefix("request-"),
    )
    steps = [item for item in document["steps"] if "offset" in item]
    for bar, track, item in zip(bars.all(), page.locator(".track:has(.span)").all(), steps, strict=True):
        place, whole = bar.bounding_box(), track.bounding_box()
        share = whole["width"] / document["length"]
        assert place["x"] - whole["x"] == pytest.approx(item["offset"] * share, abs=4)
        assert place["width"] == pytest.approx(item["seconds"] * share, abs=4)
    assert all(
        re.fullmatch(r"[\d.]+ (ms|µs|s)", text) for text in page.locator(".hook summary .time").all_inner_texts()
    )


def test_upstream_and_client_are_shown_with_what_differs(page, gateway):
    sent(page, gateway.order)
    options(page).first.click()
    upstream = step(page, "200")
    upstream.locator("summary").click()
    expect(upstream.locator(".added", has_text="X-Stamp: 42")).to_be_visible()
    expect(upstream.locator(".removed", has_text="X-Debug: 1")).to_be_visible()
    added = step(page, "gets 200").locator(".added")
    expect(added).to_have_text(["+X-Shop: open", re.compile(r"^\+X-Request-ID: \S+$")])


def test_a_traceback_stands_beside_the_hook_that_raised(page, gateway):
    status = sent(page, gateway.ask, "/shop/orders", "[]", Authorization=f"Bearer {KEY}")
    assert status == 500
    row = options(page).first
    expect(row).to_have_accessible_name(re.compile("^POST /shop/orders, 500, .*, a hook failed$"))
    row.click()
    failed = step(page, "Price")
    expect(failed.locator(".tag.bad")).to_have_text("failed")
    expect(failed.locator("pre.trace")).to_contain_text('print("pricing", order["count"], "pieces")')
    expect(failed.locator("pre.trace")).to_contain_text("TypeError: list indices")
    expect(page.locator("pre.trace")).to_have_count(1)


def test_a_request_is_sent_again_with_edits(page, gateway):
    sent(page, gateway.order)
    options(page).first.click()
    page.get_by_role("button", name="Send again").click()
    form = page.get_by_role("dialog", name="Send again")
    expect(form.get_by_label("Method")).to_have_value("POST")
    expect(form.get_by_label("Headers")).to_have_value(re.compile("Authorization: Bearer •+"))
    form.get_by_label("Method").fill("PUT")
    form.get_by_label("Path and query").fill("/shop/orders/8?again=1")
    form.get_by_label("Headers").fill(form.get_by_label("Headers").input_value() + "\nX-From: Lovelace")
    form.get_by_label("Body").fill('{"count": 4}')
    form.get_by_role("button", name="Send").click()
    expect(form).to_be_hidden()
    expect(options(page)).to_have_count(2)
    expect(page.get_by_role("option", selected=True)).to_have_accessible_name(
        re.compile(r"^PUT /shop/orders/8\?again=1, 200")
    )
    expect(page.get_by_role("heading", name="PUT /shop/orders/8?again=1")).to_be_visible()
    expect(step(page, "Stamp")).to_contain_text("an order from Lovelace")
    got = gateway.upstream.got[-1]
    assert (got.method, got.path, json.loads(got.body)) == ("PUT", "/orders/8?again=1", {"count": 4, "price": 50.0})
    assert got.headers["authorization"] == f"Bearer {KEY}"  # masked on the page, and sent as it was


def test_the_form_says_why_a_request_cannot_be_sent(page, gateway):
    sent(page, gateway.order)
    options(page).first.click()
    page.get_by_role("button", name="Send again").click()
    form = page.get_by_role("dialog", name="Send again")
    form.get_by_label("Path and query").fill("/shop/a b")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("alert")).to_have_text("the url must begin with / and have no spaces: write them as %20")
    form.get_by_label("Path and query").fill("/shop/ab")
    form.get_by_label("Headers").fill("no header")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("alert")).to_contain_text('"no header" is no header')
    page.keyboard.press("Escape")
    expect(form).to_be_hidden()
    expect(options(page)).to_have_count(1)


def test_a_reload_shows_why_it_failed(page, gateway):
    file = gateway.folder / "middleware" / "shop.py"
    button = page.get_by_role("button", name="Reload plugins")
    try:
        file.write_text(PLUGIN + "\ndef broken(:\n")
        button.click()
        expect(page.get_by_role("alert")).to_contain_text("shop.py")
        expect(page.get_by_role("alert")).to_contain_text("invalid syntax")
        assert sent(page, gateway.order) == 200  # on what was loaded before
    finally:
        file.write_text(PLUGIN.replace('"42"', '"43"'))
        button.click()
    expect(page.get_by_role("alert")).to_contain_text("Everything was loaded again.")
    sent(page, gateway.order)
    options(page).first.click()
    expect(step(page, "Stamp")).to_contain_text('set_headers["X-Stamp"] 43')
    page.get_by_role("alert").get_by_role("button", name="Close").click()
    expect(page.get_by_role("alert")).to_be_hidden()
    file.write_text(PLUGIN)
    button.click()
    expect(page.get_by_role("alert")).to_contain_text("Everything was loaded again.")


def test_secrets_are_masked_until_somebody_asks(page, gateway):
    sent(
        page,
        gateway.order,
        "/shop/orders?api_key=hunter2-hunter2",
        X_From=f"one with {KEY}",
        Cookie="sid=s3cr3t-cookie; lang=en",
    )
    options(page).first.click()
    open_all(page)
    shown = page.content()
    for secret in (KEY, "hunter2-hunter2", "s3cr3t-cookie"):
        assert secret not in shown
    expect(step(page, "Stamp").get_by_role("group", name="Log")).to_have_text(re.compile("one with •+$"))
    page.get_by_role("button", name="Show secrets").click()
    expect(page.get_by_role("button", name="Mask secrets")).to_be_visible()
    expect(step(page, "sends the request")).to_contain_text(f"Authorization: Bearer {KEY}")
    expect(step(page, "Check")).to_contain_text(f"Let in under the token {KEY}")
    page.get_by_role("button", name="Mask secrets").click()
    expect(step(page, "Check")).not_to_contain_text(KEY)


def test_markup_is_shown_as_the_text_that_it_is(page, gateway):
    attack = "<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>"
    path = "/shop/%3Cscript%3E?q=<script>document.title='owned'</script>".replace(" ", "%20")
    sent(page, gateway.order, path, X_From=attack)
    sent(page, gateway.ask, "/shop/orders", json.dumps({"count": 1, "note": attack}), Authorization=f"Bearer {KEY}")
    expect(options(page)).to_have_count(2)
    for at in (0, 1):
        options(page).nth(at).click()
        expect(step(page, "gets 200")).to_be_visible()
        open_all(page)
        expect(page.locator("main img, main script")).to_have_count(0)
    expect(step(page, "Stamp")).to_contain_text(f"an order from {attack}")
    page.keyboard.press("r")
    expect(page.get_by_role("dialog", name="Send again").get_by_label("Headers")).to_have_value(
        re.compile("<img src=x")
    )
    assert page.title() == "tykbridge inspector"
    # What the page's own code might do by mistake some day, the browser refuses.
    assert page.evaluate("() => { try { document.body.innerHTML = '<b>'; return 'done' } catch (e) { return e.name } }")
    assert page.locator("body > b").count() == 0
    page.evaluate("() => fetch('http://127.0.0.1:1/').catch((error) => error.name)")
    words = " ".join(page.complaints)
    assert "TrustedHTML" in words
    assert "violates the following Content Security Policy directive" in words
    page.complaints.clear()


def test_everything_can_be_done_with_keys(page, gateway):
    for number in range(3):
        sent(page, gateway.order, f"/shop/orders/{number}")
    expect(options(page)).to_have_count(3)
    selected = page.get_by_role("option", selected=True)
    page.keyboard.press("ArrowDown")
    expect(selected).to_have_accessible_name(re.compile("/shop/orders/2"))
    page.keyboard.press("j")
    expect(selected).to_have_accessible_name(re.compile("/shop/orders/1"))
    page.keyboard.press("End")
    expect(selected).to_have_accessible_name(re.compile("/shop/orders/0"))
    page.keyboard.press("k")
    expect(selected).to_have_accessible_name(re.compile("/shop/orders/1"))
    listbox = page.get_by_role("listbox")
    active = selected.get_attribute("id")
    expect(listbox).to_have_attribute("aria-activedescendant", active)

    expect(page.get_by_role("heading", name="/shop/orders/1")).to_be_visible()
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="/shop/orders/1")).to_be_focused()
    for _ in range(3):  # two buttons, and the first step
        page.keyboard.press("Tab")
    first = step(page, "sends the request")
    expect(first.locator("summary")).to_be_focused()
    assert page.evaluate("() => getComputedStyle(document.activeElement).outlineStyle") == "solid"
    page.keyboard.press("Enter")
    expect(first).to_have_attribute("open", "")
    page.keyboard.press("Escape")
    expect(listbox).to_be_focused()

    page.keyboard.press("/")
    page.keyboard.type("orders/2")
    expect(options(page)).to_have_count(1)
    page.keyboard.press("Enter")
    expect(listbox).to_be_focused()
    page.keyboard.press("ArrowDown")
    expect(selected).to_have_accessible_name(re.compile("/shop/orders/2"))

    expect(page.get_by_role("heading", name="/shop/orders/2")).to_be_visible()
    page.keyboard.press("r")
    form = page.get_by_role("dialog", name="Send again")
    expect(form.get_by_label("Path and query")).to_be_focused()
    page.keyboard.press("Control+Enter")
    expect(form).to_be_hidden()
    expect(listbox).to_be_focused()
    expect(options(page)).to_have_count(2)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keys")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog", name="Keys")).to_be_hidden()


def test_the_list_is_filtered_by_all_words(page, gateway):
    sent(page, gateway.order, "/shop/orders/1")
    sent(page, gateway.ask, "/open/things")
    sent(page, gateway.ask, "/nowhere")
    sent(page, gateway.ask, "/shop/orders", "[]", Authorization=f"Bearer {KEY}")
    expect(options(page)).to_have_count(4)
    words = page.get_by_role("searchbox", name="Filter requests")
    for text, names in {
        "post": ["/shop/orders", "/shop/orders/1"],
        "post 2xx": ["/shop/orders/1"],
        "404": ["/nowhere"],
        "failed": ["/shop/orders"],
        "open": ["/open/things"],
        "nothing-has-this": [],
    }.items():
        words.fill(text)
        expect(page.locator(".row:visible .url")).to_have_text(names)
    expect(page.get_by_text("No request has all of these words.")).to_be_visible()
    words.fill("")
    expect(options(page)).to_have_count(4)


def test_a_pause_holds_the_list_still(page, gateway):
    sent(page, gateway.ask, "/open/1")
    expect(options(page)).to_have_count(1)
    page.get_by_role("button", name="Pause").click()
    expect(page.get_by_role("status")).to_have_text("paused")
    gateway.ask("/open/2")
    gateway.ask("/open/3")
    expect(page.get_by_role("button", name="Resume (2)")).to_be_visible()
    expect(options(page)).to_have_count(1)
    page.get_by_role("button", name="Resume (2)").click()
    expect(options(page)).to_have_count(3)
    expect(page.get_by_role("status")).to_have_text("live")


def test_dark_and_light(page):
    ground = "() => getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(ground)
    page.emulate_media(color_scheme="dark")
    expect(page.locator("html")).to_have_attribute("data-theme", "dark")
    dark = page.evaluate(ground)
    assert dark != light
    toggle = page.get_by_role("button", name="Dark mode")
    expect(toggle).to_have_attribute("aria-pressed", "true")
    toggle.click()
    assert page.evaluate(ground) == light
    page.reload()  # the reader's choice stays
    expect(page.locator("html")).to_have_attribute("data-theme", "light")
    assert page.evaluate(ground) == light


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_can_be_read(page, gateway, scheme):
    """Every text stands out from its ground as WCAG AA asks (4.5 to 1)."""
    page.emulate_media(color_scheme=scheme)
    sent(page, gateway.order)
    sent(page, gateway.ask, "/shop/orders", "[]", Authorization=f"Bearer {KEY}")
    sent(page, gateway.ask, "/nowhere")
    expect(options(page)).to_have_count(3)
    for at in range(3):
        options(page).nth(at).click()
        expect(page.locator(".step").last).to_be_visible()
        open_all(page)
        assert page.evaluate(_FAINT) == []


_FAINT = """() => {
  const parts = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = ([r, g, b]) => {
    const [x, y, z] = [r, g, b].map((c) => (c / 255 <= 0.04045 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * x + 0.7152 * y + 0.0722 * z;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = parts(getComputedStyle(at).backgroundColor);
      if (color.length < 4 || color[3] === 1) return color;
    }
    return [255, 255, 255];
  };
  const faint = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const element = walker.currentNode.parentElement;
    if (!walker.currentNode.data.trim() || !element.checkVisibility()) continue;
    const pair = [light(parts(getComputedStyle(element).color)), light(ground(element))].sort((a, b) => b - a);
    const contrast = (pair[0] + 0.05) / (pair[1] + 0.05);
    if (contrast < 4.5) faint.push(`${walker.currentNode.data.trim()} (${element.className}): ${contrast.toFixed(2)}`);
  }
  return [...new Set(faint)];
}"""


@pytest.mark.parametrize("width", [800, 1280])
def test_nothing_is_cut_off(page, gateway, width):
    page.set_viewport_size({"width": width, "height": 800})
    sent(page, gateway.order, "/shop/orders/" + "very-long-" * 40)
    options(page).first.click()
    expect(step(page, "gets 200")).to_be_visible()
    open_all(page)
    wide = page.evaluate("() => [document.documentElement, document.getElementById('detail')]"
                         ".map((element) => element.scrollWidth - element.clientWidth)")  # fmt: skip
    assert wide == [0, 0]
    for button in page.get_by_role("toolbar").get_by_role("button").all():
        box = button.bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= width


def test_a_page_that_comes_later_has_what_came_before(page, browser, gateway):
    sent(page, gateway.order)
    expect(options(page)).to_have_count(1)
    with browser.new_context() as context:
        other = context.new_page()
        other.goto(gateway.page)
        expect(options(other)).to_have_count(1)
        other.get_by_role("button", name="Clear").click()
        expect(options(page)).to_have_count(0)


def test_a_body_that_is_streamed_is_said_not_to_be_there(page, gateway):
    sent(page, gateway.ask, "/open/upload", "some body")
    options(page).first.click()
    expect(page.get_by_role("heading", name="POST /open/upload")).to_be_visible()
    step(page, "sends the request").locator("summary").click()
    expect(step(page, "sends the request")).to_contain_text("The body was streamed, and is not kept.")
    page.get_by_role("button", name="Send again").click()
    form = page.get_by_role("dialog", name="Send again")
    form.get_by_role("button", name="Send").click()
    expect(form.get_by_role("alert")).to_contain_text("its body cannot be sent again")
    form.get_by_label("Body").fill("another body")
    form.get_by_role("button", name="Send").click()
    expect(form).to_be_hidden()
    assert gateway.upstream.got[-1].body == b"another body"
