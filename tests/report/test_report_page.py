"""The report's page as a reader has it, in a real Chromium: it works, needs no network, and shuts nobody out."""

import csv
import shutil

import pytest

from Safety_Challenging.evaluate import TASK as CHALLENGING
from Safety_Taxonomy.evaluate import TASK as TAXONOMY
from utils import config
from utils.evaluation import run as evaluation_run
from utils.report import __main__ as report_main

CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed (Debian: apt-get install chromium)")
MARKUP = "<script>window.broken = 1</script><img src=x onerror='window.broken = 2'>"
QUIET = ["--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync"]  # fmt: skip


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        chromium = playwright.chromium.launch(executable_path=CHROMIUM, args=QUIET)
        yield chromium
        chromium.close()


@pytest.fixture
def opened(browser):
    """Opens a page file; at the end nothing may have gone to the console, failed, or left the file."""
    contexts, troubles = [], []

    def open_page(path, width=1280, **more):
        context = browser.new_context(viewport={"width": width, "height": 900}, **more)
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda message: troubles.append(f"console: {message.text}"))
        page.on("pageerror", lambda error: troubles.append(f"error: {error}"))
        page.on(
            "request",
            lambda request: (
                None
                if request.url == path.as_uri() or request.url.startswith(("data:", "blob:"))
                else troubles.append(f"request: {request.url}")
            ),
        )
        page.goto(path.as_uri())
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not troubles


def column(page, caption, number):
    table = page.locator("table.sortable", has=page.get_by_text(caption, exact=True)).first
    return table, lambda: table.locator(f"tbody tr > :nth-child({number})").all_inner_texts()


def test_tables_sort_both_ways_and_their_foot_stays(opened, sample_report):
    page = opened(sample_report / "report.html")
    table, cells = column(page, "Categorical Purity at 10, higher is better", 3)
    before = cells()
    heading = table.locator("thead th").nth(2)
    foot = table.locator("tfoot tr").all_inner_texts()
    heading.get_by_role("button").click()
    down = cells()
    assert heading.get_attribute("aria-sort") == "descending"
    assert [float(text.split()[0]) for text in down] == sorted((float(t.split()[0]) for t in before), reverse=True)
    heading.get_by_role("button").press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending" and cells() != down
    assert [float(t.split()[0]) for t in cells()] == sorted(float(t.split()[0]) for t in before)
    table.locator("thead th").first.get_by_role("button").click()
    names = table.locator("tbody tr > :nth-child(1)").all_inner_texts()
    assert names == sorted(names) and heading.get_attribute("aria-sort") is None
    assert table.locator("tfoot tr").all_inner_texts() == foot


def test_prompts_are_hidden_until_the_warning_is_accepted_and_can_be_hidden_again(opened, sample_report):
    page = opened(sample_report / "report.html")
    table = page.locator("table", has=page.get_by_text("The 15 prompts that MiniLM-L6 misplaces most")).first
    row = table.locator("tbody tr").first.locator(":scope > *").all_inner_texts()
    with (config.ROOT / "Safety_Taxonomy" / "sample.csv").open(encoding="utf-8") as stream:
        question = {r["id"]: r["question"] for r in csv.DictReader(stream)}
    assert row[4] == "hidden" and question[row[0]] not in page.inner_text("body")
    page.click("#accept")
    assert table.locator("tbody tr").first.locator(":scope > *").nth(4).inner_text() == question[row[0]]
    assert page.inner_text("#accepted") == "The prompts are shown."
    page.click("#accept")
    assert question[row[0]] not in page.inner_text("body")


def test_the_map_answers_to_hover_and_to_the_keyboard(opened, sample_report):
    page = opened(sample_report / "report.html")
    page.locator("#map").scroll_into_view_if_needed()
    point = page.locator("#map .scatterlayer .trace").nth(3).locator("path.point").first
    box = point.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.wait_for_selector("#map .hovertext")
    detail = page.inner_text("#map-detail")
    chosen = page.input_value("#map-id")
    hovered = page.locator("#map .hovertext").first.text_content()
    assert f"id {chosen}" in detail and f"id {chosen}" in hovered and "nearest:" in hovered
    category = page.evaluate("() => categoryOf(map.ids.indexOf(document.getElementById('map-id').value))")
    assert f"id {chosen} {category}" in detail and category in hovered.replace("\xa0", " ")
    assert page.locator("#map-detail li").count() == 5 and "text hidden" in detail
    page.locator("#accept").press("Enter")
    with (config.ROOT / "Safety_Taxonomy" / "sample.csv").open(encoding="utf-8") as stream:
        question = {r["id"]: r["question"] for r in csv.DictReader(stream)}
    assert question[chosen] in page.inner_text("#map-detail")
    page.fill("#map-id", "5")
    page.press("#map-id", "Enter")
    assert question["5"] in page.locator("#map-detail p").first.inner_text()
    page.locator("#map-next").press("Enter")
    assert page.input_value("#map-id") == "6" and question["6"] in page.inner_text("#map-detail")
    page.fill("#map-id", "nobody")
    page.press("#map-id", "Enter")
    assert page.inner_text("#map-detail") == "There is no prompt with that id on the map."
    page.fill("#map-id", "6")
    page.press("#map-id", "Enter")
    before = page.inner_text("#map-trust"), page.inner_text("#map-detail ol")
    page.select_option("#map-encoder", label="TF-IDF")
    assert (page.inner_text("#map-trust"), page.inner_text("#map-detail ol")) != before


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (375, "dark")])
def test_it_shuts_nobody_out(opened, sample_report, width, scheme):
    """No violation of axe-core's rules: contrast, names, roles, landmarks, headings, keyboard."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(sample_report / "report.html", width=width, color_scheme=scheme, bypass_csp=True)
    page.click("#accept")
    found = Axe().run(page)
    assert found.violations_count == 0, found.generate_report()


def test_a_prompt_or_category_with_markup_is_text(opened, without_figures, tmp_path):
    """On data of one's own: the texts of the file that is named are shown, the other task's are not available."""
    folder = tmp_path / "taxonomy"
    folder.mkdir()
    with (folder / "own.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "types_of_harm", "question"])
        for i in range(12):
            fruit = ("apple", "pear")[i % 2]
            rows.writerow([f"<b>{i}</b>", f"<i>{'ab'[i % 2]}</i>", f"{MARKUP} number {i} {fruit}"])
    with (tmp_path / "own.csv").open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["id", "type", "unsafe_prompt", "safe_prompt"])
        for i in range(8):
            rows.writerow([i, "ab"[i % 2], f"{MARKUP} unsafe {i}", f"{MARKUP} safe {i}"])
    common = ["--quiet", "--out", str(tmp_path / "results"), "--model", "tfidf"]
    flags = [*common, "--bootstrap", "0"]
    assert evaluation_run.evaluate(TAXONOMY, ["--data", str(folder / "own.csv"), *flags, "--top-k", "3"]) == 0
    assert evaluation_run.evaluate(CHALLENGING, ["--data", str(tmp_path / "own.csv"), *flags]) == 0
    assert report_main.main(["--data", str(folder / "own.csv"), *common]) == 0
    page = opened(tmp_path / "results" / "own" / "report.html")
    assert "Without the prompts' texts: own.csv: not the file that was evaluated" in page.inner_text("#findings")
    page.click("#accept")
    text = page.inner_text("body")
    assert f"{MARKUP} number 3" in text and f"{MARKUP} unsafe" not in text and "not available" in text
    assert "<i>a</i>" in text and "<b>3</b>" in text
    page.fill("#map-id", "<b>3</b>")
    page.press("#map-id", "Enter")
    page.wait_for_selector("#map .hovertext")
    assert f"{MARKUP} number 3" in page.inner_text("#map-detail")
    assert "id <b>3</b>" in page.locator("#map .hovertext").first.text_content()
    assert "<i>" in page.locator("#map .legend").text_content()
    assert page.evaluate("window.broken") is None
