#!/usr/bin/env python3
"""Drives the builtin shop as its clients would, for captures/record.sh. Python's standard library and curl only.

    drive.py browse  BASE SECONDS   many people look around, some buy (captures/shop.pcap)
    drive.py buy     BASE COUNT     one after the other signs in, fills a cart, pays (captures/checkout.pcapng)

Choices come from a fixed seed; what the network makes of their times does not.
"""
import http.client
import json
import random
import subprocess
import sys
import threading
import time
from urllib.parse import urlsplit

PEOPLE = 12          # keep-alive connections at a time
PAUSE = 0.34         # mean seconds between two requests of one person
ASIDE = 0.5          # mean seconds between two requests by curl


class Person:
    """A browser: one connection kept alive, a session cookie once signed in."""

    def __init__(self, base, number):
        self.netloc = urlsplit(base).netloc
        self.random = random.Random(number)
        self.name = f"user{number}"
        self.connection = http.client.HTTPConnection(self.netloc, timeout=10)
        self.cookie = None
        self.etags = {}

    def ask(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        headers["User-Agent"] = "shop-drive/1 http.client"
        headers["Accept"] = "application/json"
        if self.cookie:
            headers["Cookie"] = self.cookie
        if isinstance(body, dict):
            body = json.dumps(body)
            headers["Content-Type"] = "application/json"
        self.connection.request(method, path, body, headers, encode_chunked=headers.get("Transfer-Encoding") == "chunked")
        answer = self.connection.getresponse()
        answer.read()
        if (cookie := answer.getheader("Set-Cookie")) is not None:
            self.cookie = cookie.split(";")[0]
        if (etag := answer.getheader("ETag")) is not None:
            self.etags[path] = etag
        return answer.status

    def sku(self):
        # Some things sell better than others.
        return 1000 + min(int(self.random.expovariate(1 / 120)), 479)

    def cart(self):
        return f"{self.random.randrange(1 << 32):08x}" if self.random.random() < 0.5 else self.random.randrange(1, 400)

    def step(self):
        draw = self.random.random()
        if draw < 0.46:
            path = f"/item/{self.sku()}"
            known = self.etags.get(path) if self.random.random() < 0.7 else None
            self.ask("GET", path, headers={"If-None-Match": known} if known else None)
        elif draw < 0.62:
            self.ask("GET", f"/cart/{self.cart()}")
        elif draw < 0.66:
            self.ask("GET", f"/catalog?page={self.random.randrange(1, 41)}")
        elif draw < 0.73:
            self.ask("GET", f"/search?q={self.random.choice(['lamp', 'oak', 'mug', 'steel', 'vase', 'blue'])}")
        elif draw < 0.82:
            self.ask("GET", f"/orders/{self.random.randrange(1, 9000)}")
        elif draw < 0.85:
            self.ask("POST", "/login", {"user": self.name})
        elif draw < 0.88:
            self.ask("GET", "/account")
        elif draw < 0.92:
            self.ask("POST", f"/cart/{self.cart()}/items", {"sku": str(self.sku()), "quantity": self.random.randrange(1, 4)})
        elif draw < 0.975:
            if self.cookie is None:
                self.ask("POST", "/login", {"user": self.name})
            self.ask("POST", "/checkout", {"cart": str(self.cart()), "card": "4111111111111111"})
        elif draw < 0.982:
            self.ask("DELETE", f"/cart/{self.cart()}/items/{self.sku()}")
        elif draw < 0.988:
            self.ask("HEAD", f"/item/{self.sku()}")
        elif draw < 0.994:
            self.ask("GET", f"/old/{self.sku()}")
        elif draw < 0.997:
            chunks = [b"name,count\n"] + [f"{self.sku()},{n}\n".encode() for n in range(20)]
            self.ask("POST", "/upload", iter(chunks), {"Transfer-Encoding": "chunked"})
        else:
            self.ask("GET", f"/feed?from={self.sku()}")

    def live(self, until):
        while True:
            pause = self.random.expovariate(1 / PAUSE)
            if time.monotonic() + pause >= until:
                break
            time.sleep(pause)
            self.step()
            # Now and then somebody leaves and comes back on a new connection.
            if self.random.random() < 0.01:
                self.connection.close()
        self.connection.close()


def curl(*arguments):
    subprocess.run(["curl", "-s", *arguments], check=True, timeout=20, stdout=subprocess.DEVNULL)


def aside(base, until):
    """What browsers do not do: a connection a request, HEAD, redirects followed, uploads, nobody at a path."""
    draw = random.Random(99)
    errands = [
        lambda: curl(f"{base}/"),
        lambda: curl("-I", f"{base}/catalog?page=2"),
        lambda: curl("-L", f"{base}/old/{draw.randrange(1000, 1480)}"),
        lambda: curl(f"{base}/item/{draw.randrange(1000, 1480)}", f"{base}/item/{draw.randrange(1000, 1480)}"),
        lambda: curl("-X", "POST", "-H", "Transfer-Encoding: chunked", "--data-binary", "x" * 3000, f"{base}/upload"),
        lambda: curl("-H", "Expect: 100-continue", "--data-binary", "y" * 2000, f"{base}/upload"),
        lambda: curl(f"{base}/nothing/here"),
        lambda: curl("--compressed", f"{base}/feed?from={draw.randrange(1000, 1460)}"),
        lambda: curl("-0", f"{base}/item/{draw.randrange(1000, 1480)}"),
    ]
    while time.monotonic() < until:
        draw.choice(errands)()
        time.sleep(draw.expovariate(1 / ASIDE))


def browse(base, seconds):
    until = time.monotonic() + seconds
    threads = [threading.Thread(target=Person(base, number).live, args=(until,)) for number in range(PEOPLE)]
    threads.append(threading.Thread(target=aside, args=(base, until)))
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def buy(base, count):
    for number in range(count):
        person = Person(base, 1000 + number)
        person.ask("GET", "/")
        person.ask("GET", f"/catalog?page={number % 40 + 1}")
        person.ask("POST", "/login", {"user": person.name})
        for _ in range(person.random.randrange(1, 4)):
            sku = person.sku()
            person.ask("GET", f"/item/{sku}")
            person.ask("POST", f"/cart/{number + 1}/items", {"sku": str(sku), "quantity": 1})
        person.ask("GET", f"/cart/{number + 1}")
        person.ask("POST", "/checkout", {"cart": str(number + 1), "card": "4111111111111111"})
        person.ask("GET", "/account")
        person.connection.close()


if __name__ == "__main__":
    what, base, amount = sys.argv[1:]
    {"browse": browse, "buy": buy}[what](base, int(amount))
