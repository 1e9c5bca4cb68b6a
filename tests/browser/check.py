"""Uses the dashboard of a running aggregator as a person would, in a real Chromium, and tells what it found as JSON.

    check.py URL FOLDER DISPUTED BIG

DISPUTED is a finished job in which a replica was out of line, BIG one of many shards. Pictures go to FOLDER.
"""

import json
import shutil
import sys
from pathlib import Path
from urllib.parse import urlsplit

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright

PATIENCE = 20_000  # milliseconds until something must have shown
VIEWS = {
    "overview": ("#/", "Overview"),
    "jobs": ("#/jobs", "Jobs"),
    "disagreements": ("#/disagreements", "Disagreements"),
    "providers": ("#/providers", "Providers"),
    "money": ("#/money", "Money"),
}


class Visit:
    """One browser window with one colour scheme."""

    def __init__(self, browser, base, folder, scheme, width=1280):
        self.base, self.folder, self.scheme = base, folder, scheme
        self.page = browser.new_page(viewport={"width": width, "height": 860}, color_scheme=scheme)
        self.page.set_default_timeout(PATIENCE)
        self.troubles = []
        self.deaf = False  # whether the aggregator is out of reach on purpose
        self.page.on("pageerror", lambda error: self.troubles.append(f"error: {error}"))
        self.page.on("console", self.heard)
        self.page.on("request", self.asked)

    def heard(self, message):
        if message.type == "error" and not self.deaf:
            self.troubles.append(f"console: {message.text}")

    def asked(self, request):
        if urlsplit(request.url).netloc != urlsplit(self.base).netloc:
            self.troubles.append(f"asked another server: {request.url}")

    def open(self, address, heading):
        self.page.goto(f"{self.base}/{address}")
        self.page.get_by_role("heading", level=1, name=heading).wait_for()

    def barriers(self):
        """What axe finds against WCAG 2.2 AA, by rule."""
        options = {"runOnly": ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"]}
        found = Axe().run(self.page, options=options).response["violations"]
        return [f"{rule['id']}: {rule['nodes'][0]['html'][:160]}" for rule in found]

    def picture(self, name):
        self.page.screenshot(path=self.folder / f"{name}-{self.scheme}.png", full_page=True)


def views(visit):
    """Every view shows itself, and bars nobody."""
    barriers = {}
    for name, (address, heading) in VIEWS.items():
        visit.open(address, heading)
        barriers[name] = visit.barriers()
        visit.picture(name)
    return barriers


def keyboard(visit, job):
    """A shard is found and chosen without a mouse."""
    page = visit.page
    visit.open(f"#/jobs/{job}", "")
    page.locator(".map button").first.wait_for()
    page.keyboard.press("Tab")
    skip = page.evaluate("document.activeElement.textContent")
    stops = 0
    while not page.evaluate("document.activeElement.closest('.map') !== null"):
        page.keyboard.press("Tab")
        stops += 1
        if stops > 40:
            return {"skip": skip, "reached": False}
    page.keyboard.press("ArrowRight")
    moved = page.evaluate("document.activeElement.getAttribute('aria-label')")
    page.keyboard.press("Enter")
    page.locator(".panel h3").first.wait_for()
    chosen = page.locator(".panel h3").first.text_content()
    # The view is drawn anew when something happens; whoever is in it must stay where he is.
    page.evaluate("document.querySelector('.map').dataset.old = 'yes'")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator(".map:not([data-old])").wait_for()
    kept = page.evaluate("document.activeElement.getAttribute('aria-label')")
    return {"skip": skip, "reached": True, "moved": moved, "chosen": chosen, "kept": kept == moved}


def disputed(visit, job):
    """A disagreement is drilled into, and the record is checked in the page."""
    page = visit.page
    visit.open("#/disagreements", "Disagreements")
    page.locator(f'tbody a[href="#/jobs/{job}"]').click()
    page.locator(".map button.contested").first.click()
    page.locator(".panel tbody tr").first.wait_for()
    outvoted = page.locator(".panel .badge", has_text="outvoted").count()
    verdict, checks = verified(page)
    barriers = visit.barriers()
    visit.picture("job")
    return {"outvoted": outvoted, "verdict": verdict, "checks": checks, "barriers": barriers}


def verified(page):
    page.get_by_role("button", name="Verify in this page").click()
    page.locator(".verdict.good, .verdict.bad").wait_for()
    items = page.locator(".checks li")
    checks = [items.nth(at).get_attribute("class") for at in range(items.count())]
    return page.locator(".verdict").text_content(), checks


def first_replica(record):
    return record["shards"][0]["replicas"][0]


def pay(record):
    paid = [each for each in record["shards"][0]["replicas"] if each["agreed"]]
    paid[0]["paid"] = "0.5"


def flip(values):
    values[7] ^= 1


FORGERIES = {
    "a payment": pay,
    "a commitment": lambda record: flip(first_replica(record)["commitment"]["payload"]),
    "a provider's signature": lambda record: flip(first_replica(record)["commitment"]["signature"]),
    "the settlement": lambda record: flip(record["settlement"]["payload"]),
    "the settlement's signature": lambda record: flip(record["settlement"]["signature"]),
    "a receipt": lambda record: first_replica(record).update(receipt=record["shards"][-1]["replicas"][0]["receipt"]),
    "what was accepted": lambda record: record["shards"][0].update(canonical_root=record["shards"][-1]["canonical_root"]),
    "the package": lambda record: record["package"].update(package=record["package"]["package"].replace('"schema":1', '"schema":2')),
    "a shard": lambda record: record["shards"].pop(),
}


def answering(forge):
    """What answers for the aggregator, with a record in which something is changed."""
    def answer(route):
        record = json.loads(route.fetch().body())
        forge(record)
        route.fulfill(json=record)
    return answer


def forged(visit, job):
    """A record with anything changed in it does not check out."""
    page = visit.page
    found = {}
    for what, forge in FORGERIES.items():
        page.route("**/record", answering(forge))
        page.goto("about:blank")
        visit.open(f"#/jobs/{job}", "")
        found[what] = verified(page)[0]
        page.unroute("**/record")
    return found


def big(visit, job):
    """A job of many shards is one field, and stays usable."""
    page = visit.page
    visit.open(f"#/jobs/{job}", "")
    page.locator(".map button").first.wait_for()
    visit.picture("big")
    return {"cells": page.locator(".map button").count(), "barriers": visit.barriers()}


def live(visit):
    """The page is told what happens, and says so."""
    visit.open("#/", "Overview")
    visit.page.locator("#link", has_text="live").wait_for()
    return True


def theme(visit):
    """The other theme is a button away, and is remembered."""
    page = visit.page
    chosen = lambda: page.evaluate("document.documentElement.dataset.theme")
    visit.open("#/", "Overview")
    before = chosen()
    page.locator("#theme").click()
    after = chosen()
    page.reload()
    page.get_by_role("heading", level=1, name="Overview").wait_for()
    return {"first": before, "other": after, "remembered": chosen()}


def gone(visit):
    """An aggregator that does not answer is told of, and what was shown stays."""
    page = visit.page
    visit.open("#/providers", "Providers")
    visit.deaf = True
    page.route("**/api/**", lambda route: route.abort())
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    page.locator("#link.off").wait_for()
    kept = page.get_by_role("heading", level=1, name="Providers").count()
    page.unroute("**/api/**")
    page.locator("#link:not(.off)").wait_for()
    return {"told": True, "kept": kept == 1}


def narrow(visit):
    """Nothing is cut off on a telephone."""
    wide = {}
    for name, (address, heading) in VIEWS.items():
        visit.open(address, heading)
        wide[name] = visit.page.evaluate("document.documentElement.scrollWidth > innerWidth")
    visit.picture("narrow")
    return wide


def main(base, folder, disputed_job, big_job):
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    report = {}
    with sync_playwright() as play:
        program = shutil.which("chromium") or shutil.which("google-chrome")
        browser = play.chromium.launch(executable_path=program, args=["--no-sandbox"])
        report["browser"] = browser.version
        for scheme in ["light", "dark"]:
            visit = Visit(browser, base, folder, scheme)
            report[scheme] = {
                "views": views(visit),
                "disputed": disputed(visit, disputed_job),
                "big": big(visit, big_job),
                "live": live(visit),
                "theme": theme(visit),
            }
            report[scheme]["troubles"] = visit.troubles
        visit = Visit(browser, base, folder, "light")
        report["keyboard"] = keyboard(visit, big_job)
        report["forged"] = forged(visit, disputed_job)
        report["gone"] = gone(visit)
        report["narrow"] = narrow(Visit(browser, base, folder, "light", width=390))
        browser.close()
    json.dump(report, sys.stdout, indent=1)


if __name__ == "__main__":
    main(*sys.argv[1:])
