"""The gateway's page in headless Chromium; see scripts/page.sh.

The browser is spoken to by the DevTools protocol over a pipe. Whatever is waited for is a condition, never a time. Every process that is
started here is ended here, by its handle.
"""

import argparse
import base64
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request

PATIENCE = 180
# A consumer group may be called anything: this would run, were it markup.
NASTY = "<img src=x onerror=\"document.title='broken into'\">"
# A label may say anything, too: what Prometheus reads must be that.
LABEL = 'Halle 2 "Nord" \\ {a="b", c}'


class Skip(Exception):
    pass


class Browser:
    """One page of one browser."""

    def __init__(self, home):
        program = next((p for p in map(shutil.which, ["chromium", "chromium-browser", "google-chrome"]) if p), None)
        if not program:
            raise Skip("no chromium found")
        ours_in, theirs_out = os.pipe()
        theirs_in, ours_out = os.pipe()

        def pipes():
            # Out of the way of the descriptors that they are to get.
            read, write = os.dup(theirs_in), os.dup(theirs_out)
            high = [os.dup2(read, 60), os.dup2(write, 61)]
            os.dup2(high[0], 3)
            os.dup2(high[1], 4)

        flags = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--remote-debugging-pipe",
                 f"--user-data-dir={home}/browser", "about:blank"]
        self.log = open(f"{home}/browser.log", "w")
        self.process = subprocess.Popen([program, *flags], close_fds=False, preexec_fn=pipes, stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log)
        os.close(theirs_in)
        os.close(theirs_out)
        self.read, self.write, self.buffer, self.last, self.trouble = ours_in, ours_out, b"", 0, []
        self.session = None
        try:
            target = self.call("Target.createTarget", url="about:blank")["targetId"]
            self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        except OSError as error:
            raise Skip(f"the browser does not start: {error}") from error
        for domain in ["Page", "Runtime", "Log", "Network"]:
            self.call(f"{domain}.enable")

    def call(self, method, **params):
        self.last += 1
        message = {"id": self.last, "method": method, "params": params}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.write, json.dumps(message).encode() + b"\0")
        while True:
            while b"\0" not in self.buffer:
                more = os.read(self.read, 1 << 20)
                if not more:
                    raise OSError("it has ended")
                self.buffer += more
            text, self.buffer = self.buffer.split(b"\0", 1)
            answer = json.loads(text)
            self.note(answer)
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]

    def note(self, event):
        """Exceptions, and what the browser refused to do. A gateway that is away is no trouble of the page's."""
        params = event.get("params", {})
        if event.get("method") == "Runtime.exceptionThrown":
            self.trouble.append(json.dumps(params["exceptionDetails"]))
        if event.get("method") == "Log.entryAdded" and "ERR_" not in params["entry"]["text"]:
            self.trouble.append(params["entry"]["text"])

    def run(self, script):
        answer = self.call("Runtime.evaluate", expression=script, returnByValue=True)
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def text(self, selector="body"):
        return self.run(f"(document.querySelector({json.dumps(selector)}) || {{innerText: ''}}).innerText")

    def show(self, url, width, height, dark=False):
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=width < 500)
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": "dark" if dark else "light"}])
        self.call("Page.navigate", url=url)

    def screenshot(self, path):
        size = self.call("Page.getLayoutMetrics")["cssContentSize"]
        clip = {"x": 0, "y": 0, "width": size["width"], "height": size["height"], "scale": 1}
        image = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True, clip=clip)["data"]
        with open(path, "wb") as file:
            file.write(base64.b64decode(image))

    def end(self):
        self.process.terminate()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def wait_for(what, ask):
    """`what` is a text, or makes one of how it is at the end."""
    begin = time.monotonic()
    while True:
        if answer := ask():
            return answer
        if time.monotonic() - begin > PATIENCE:
            raise AssertionError(f"waited in vain for {what() if callable(what) else what}")
        time.sleep(0.2)


def free_port(given=set()):
    """Below those that the kernel gives to outgoing connections; none twice."""
    for _ in range(200):
        port = 20_000 + int.from_bytes(os.urandom(2), "big") % 9_000
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                continue
        if port not in given:
            given.add(port)
            return port
    raise AssertionError("no free port")


class Gateway:
    def __init__(self, binary, home, name, config, http):
        self.binary, self.home, self.name, self.http = binary, f"{home}/{name}", name, http
        self.native = free_port()
        os.mkdir(self.home)
        with open(f"{self.home}/brooklet.toml", "w") as file:
            file.write(f'gateway.id = "{name}"\nclock.trust = "always"\nstore.max_bytes = "64MiB"\n{config}')
        self.process = None

    def start(self):
        serve = [self.binary, "serve", "--config", f"{self.home}/brooklet.toml", "--data", f"{self.home}/data", "--native",
                 f"127.0.0.1:{self.native}", "--kafka", "127.0.0.1:0", "--mqtt", "127.0.0.1:0", "--http", f"127.0.0.1:{self.http}"]
        with open(f"{self.home}/log", "a") as log:
            self.process = subprocess.Popen(serve, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        wait_for(f"{self.name} to answer", lambda: self.try_cli("status") is not None)

    def end(self):
        if self.process:
            self.process.terminate()
            self.process.wait(PATIENCE)
            self.process = None

    def try_cli(self, *args, stdin=""):
        done = subprocess.run([self.binary, *args, "--broker", f"127.0.0.1:{self.native}"], input=stdin, text=True,
                              capture_output=True, check=False)
        return done.stdout if done.returncode == 0 else None

    def cli(self, *args, stdin=""):
        out = self.try_cli(*args, stdin=stdin)
        assert out is not None, f"brooklet {' '.join(args)} failed"
        return out


def has(browser, selector, *words):
    wait_for(lambda: f"{words} in {selector}, where {browser.text(selector)!r} stands", lambda: all(word in browser.text(selector) for word in words))


def check_fit(browser, width):
    wide = browser.run("document.documentElement.scrollWidth")
    assert wide <= width, f"the page is {wide} px wide on a screen of {width}"
    small = browser.run("[...document.querySelectorAll('main *')].filter(e => e.children.length === 0 && e.textContent.trim() && "
                        "parseFloat(getComputedStyle(e).fontSize) < 13).length")
    assert small == 0, f"{small} texts are too small to read"


def under_load(browser, gateway, shot):
    lines = "".join(f"{n}\n" for n in range(500))
    url = f"http://127.0.0.1:{gateway.http}/"
    browser.show(url, 1280, 900)
    for topic in ["temperature", "vibration", "line-7.alarms"]:
        gateway.cli("produce", topic, stdin=lines)
    consume = [gateway.binary, "consume", "temperature", "--group", NASTY, "--follow", "--broker", f"127.0.0.1:{gateway.native}"]
    member = subprocess.Popen(consume, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        has(browser, "#title", "Brooklet gw-field-7")
        has(browser, "#live", "live")
        has(browser, "#topics", "temperature", "vibration", "line-7.alarms", "500")
        has(browser, ".link", "Uplink centre", "all is forwarded")
        has(browser, "#losses", "Nothing went before it was forwarded")
        has(browser, "#groups", NASTY, "Stable")
        # Rates come from what changes while the page is open.
        def rate():
            gateway.cli("produce", "temperature", stdin=lines)
            return browser.text("#rin") not in ("–", "0")
        wait_for("a rate of records in", rate)
        wait_for("a line in the graph", lambda: "," in (browser.run("document.querySelector('#graph polyline').getAttribute('points')") or ""))
        assert browser.run("document.title").endswith("gw-field-7 – Brooklet"), "a name became code"
        for width, height, dark in [(1280, 900, False), (360, 740, False), (360, 740, True)]:
            browser.show(url, width, height, dark)
            has(browser, "#live", "live")
            has(browser, "#topics", "vibration")
            wait_for("rates", rate)
            check_fit(browser, width)
            shot(f"load-{width}{'-dark' if dark else ''}")
        wait_for("all to be forwarded", lambda: '"lag_records":0,"lag_bytes_estimate"' in gateway.cli("status", "--json"))
    finally:
        member.terminate()
        member.wait(PATIENCE)


def metrics(gateway):
    """What Prometheus's own library for Python makes of /metrics, where there is one."""
    try:
        from prometheus_client.parser import text_string_to_metric_families as read
    except ImportError:
        print("page: prometheus_client is not installed: /metrics is not read by it", flush=True)
        return
    with urllib.request.urlopen(f"http://127.0.0.1:{gateway.http}/metrics", timeout=PATIENCE) as answer:
        kind, text = answer.headers["Content-Type"], answer.read().decode()
    assert "version=0.0.4" in kind, kind
    families = {family.name: family for family in read(text)}
    known = {sample.labels["gateway"] for family in families.values() for sample in family.samples}
    assert known == {"gw-field-7"}, known
    assert all(family.documentation and family.type in ("counter", "gauge") for family in families.values())
    told = {value for family in families.values() for sample in family.samples for value in sample.labels.values()}
    assert LABEL in told, f"{LABEL} is not among what labels say"
    received = sum(sample.value for sample in families["brooklet_received_records"].samples)
    assert received >= 1_500, received
    print(f"page: /metrics: {len(families)} metrics read by prometheus_client", flush=True)


def uplink_down(browser, gateway, shot):
    gateway.cli("produce", "vibration", stdin="".join(f"{n}\n" for n in range(5_000)))
    for width, height in [(1280, 900), (360, 740)]:
        browser.show(f"http://127.0.0.1:{gateway.http}/", width, height)
        has(browser, ".link", "no link", "5,000", "old is the oldest", "down", "last error")
        has(browser, "#topics", "5,000 wait")
        has(browser, "#verdict", " link")
        check_fit(browser, width)
        shot(f"down-{width}")


def gone_and_back(browser, gateway, shot):
    gateway.end()
    has(browser, "#live", "no answer")
    has(browser, "#verdict", "has not answered for", "Is it running")
    shot("gone-360")
    gateway.start()
    has(browser, "#live", "live")


def main():
    parser = argparse.ArgumentParser(description="The gateway's page in headless Chromium.")
    parser.add_argument("--binary", default="target/release/brooklet")
    parser.add_argument("--screenshots", help="a directory to put them into")
    args = parser.parse_args()
    if not os.access(args.binary, os.X_OK):
        print(f"page: no {args.binary}: build it, or name one by --binary", file=sys.stderr)
        return 2
    binary = os.path.abspath(args.binary)
    if args.screenshots:
        os.makedirs(args.screenshots, exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        centre = Gateway(binary, home, "centre", "", free_port())
        uplink = f'[uplink.centre]\nprotocol = "brooklet"\nbootstrap = ["127.0.0.1:{centre.native}"]\nbackoff.max = "2s"\ncreate_topics = true\n'
        field = Gateway(binary, home, "gw-field-7", f"gateway.labels.site = '{LABEL}'\n" + uplink, free_port())
        started = []
        try:
            browser = Browser(home)
            started.append(browser)
            shot = (lambda name: browser.screenshot(f"{args.screenshots}/{name}.png")) if args.screenshots else lambda name: None
            for gateway in [centre, field]:
                started.append(gateway)
                gateway.start()
            under_load(browser, field, shot)
            print("page: under load: as it should be", flush=True)
            metrics(field)
            centre.end()
            uplink_down(browser, field, shot)
            print("page: uplink down: as it should be", flush=True)
            gone_and_back(browser, field, shot)
            print("page: gateway gone and back: as it should be", flush=True)
            assert not browser.trouble, f"the browser complained: {browser.trouble}"
            return 0
        except Skip as why:
            print(f"page: SKIP: {why}", file=sys.stderr)
            return 3
        except AssertionError as error:
            print(f"page: FAIL: {error}", file=sys.stderr)
            for gateway in [centre, field]:
                if os.path.exists(f"{gateway.home}/log"):
                    with open(f"{gateway.home}/log") as log:
                        print(f"--- {gateway.name}\n" + log.read()[-3000:], file=sys.stderr)
            return 1
        finally:
            for process in reversed(started):
                process.end()


if __name__ == "__main__":
    sys.exit(main())
