#!/usr/bin/env python3
"""Makes other cases of the same features: names, values, ports and orders that a proxy must not depend on are changed.

    permute.py CASES OUT [--seed N] [--only NAME]...

CASES holds a folder for each case: `envoy.yaml`, a bootstrap with `${NAME}` for ports and files, and `requests.yaml`. OUT
gets a folder `CASE-SEED` for each, in the same form; run the comparison with Envoy on it. What is changed:

- names of clusters that no request's file spells out;
- names of headers that begin with `x-` and mean nothing to a proxy, and hosts that end in `.test`, alike in both files;
- the letter case of the headers that HTTP/1 clients send;
- the order of clusters, virtual hosts, domains, weighted clusters, header and query matchers, and of routes next to each
  other that no request can match both of: exact paths that differ.

What is not: numbers, codes, times, bodies, words of Envoy's API, names that the proxy or its protocol give a meaning to.
Ports are new in every run of the comparison.
"""

import argparse
import pathlib
import random
import re
import shutil

import yaml

# Headers that mean something to Envoy, to HTTP, or to whoever runs the cases.
KEPT = re.compile(
    r"^(x-(envoy|forwarded|request-id|case|backend|ratelimit|client-trace|b3|ot|cloud|served)|(?!x-))", re.I
)
# Lists whose order means nothing.
UNORDERED = {"clusters", "virtual_hosts", "query_parameters", "domains"}


def walk(node, see, key=None):
    see(node, key)
    if isinstance(node, dict):
        for name, value in node.items():
            walk(value, see, name)
    elif isinstance(node, list):
        for value in node:
            walk(value, see, key)


def strings(node):
    found = []
    walk(node, lambda it, _: found.append(it) if isinstance(it, str) else None)
    return found


def clusters(bootstrap):
    return [it["name"] for it in bootstrap["static_resources"].get("clusters") or []]


def renamed(text, pairs):
    """All at once, so that a new name is not renamed again."""
    if not pairs:
        return text
    whole = "|".join(re.escape(it) for it in sorted(pairs, key=len, reverse=True))
    return re.sub(rf"(?<![\w.$-])({whole})(?![\w-])", lambda found: pairs[found.group(1)], text)


def new_names(text, requests, bootstrap, chance):
    word = lambda: "".join(chance.choice("bcdfghjklmnpqrstvwz") + chance.choice("aeiou") for _ in range(3))
    both = text + requests
    pairs = {}
    for host in sorted(set(re.findall(r"\b([a-z0-9-]+)\.test\b", both))):
        # The host that requests have by default, and those that a wildcard begins with, keep their names.
        if host != "parity" and f"{host}.*" not in both:
            pairs[host + ".test"] = f"{word()}.test"
    for name in sorted(set(re.findall(r"\bx-[a-z0-9-]+\b", both))):
        if not KEPT.match(name):
            pairs[name] = f"x-{word()}"
    used = " ".join(strings(bootstrap))
    for name in clusters(bootstrap):
        # A name that answers or expressions spell out would change what is compared.
        if len(re.findall(rf"\b{re.escape(name)}\b", used)) and not re.search(rf"\b{re.escape(name)}\b", requests):
            pairs[name] = f"{word()}-{name}"
    return {old: new for old, new in pairs.items() if old not in pairs.values()}


def reorder(bootstrap, chance):
    def see(node, key):
        if not isinstance(node, dict):
            return
        for name, value in node.items():
            if not isinstance(value, list) or len(value) < 2:
                continue
            if name in UNORDERED:
                chance.shuffle(value)
            elif name == "headers" and all(isinstance(it, dict) and "name" in it for it in value):
                chance.shuffle(value)
            elif name == "routes":
                swap_apart(value, chance)

    walk(bootstrap, see)


def swap_apart(routes, chance):
    """Neighbours with different exact paths cannot be for the same request."""
    for at in range(len(routes) - 1):
        one, other = (routes[it].get("match", {}) for it in (at, at + 1))
        exact = [it.get("path") for it in (one, other)]
        plain = all(it.get("case_sensitive", True) for it in (one, other))
        if all(exact) and exact[0] != exact[1] and plain and chance.random() < 0.5:
            routes[at], routes[at + 1] = routes[at + 1], routes[at]


def recase(requests, chance):
    """Names of headers are the same in any letter case (RFC 9110 §5.1); HTTP/2 has them in lower case."""
    for request in requests.get("requests") or []:
        if request.get("client", "h1") != "h1" or request.get("header_case"):
            continue
        headers = request.get("headers")
        if isinstance(headers, dict) and chance.random() < 0.7:
            request["headers"] = {
                "".join(chance.choice((it.upper(), it.lower())) for it in name): value
                for name, value in headers.items()
            }


def permute(case, out, seed):
    chance = random.Random(f"{seed}/{case.name}")
    text, requests = ((case / name).read_text() for name in ("envoy.yaml", "requests.yaml"))
    quoted = re.sub(r"\$\{(\w+)\}", r"__\1__", text)
    pairs = new_names(quoted, requests, yaml.safe_load(quoted), chance)
    bootstrap = yaml.safe_load(renamed(quoted, pairs))
    asked = yaml.safe_load(renamed(requests, pairs))
    # A file that has to be refused says by which words it can be repaired.
    if "repaired" not in asked:
        reorder(bootstrap, chance)
        recase(asked, chance)
    target = out / f"{case.name}-{seed}"
    shutil.copytree(case, target, dirs_exist_ok=True)
    dump = lambda it: yaml.safe_dump(it, sort_keys=False, width=10**6, allow_unicode=True)
    back = re.sub(r"__(\w+?)__", lambda found: "${" + found.group(1) + "}", dump(bootstrap))
    (target / "envoy.yaml").write_text(back)
    (target / "requests.yaml").write_text(dump(asked))


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("cases", type=pathlib.Path)
    arguments.add_argument("out", type=pathlib.Path)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--only", action="append", default=[])
    given = arguments.parse_args()
    made = 0
    for file in sorted(given.cases.rglob("envoy.yaml")):
        if given.only and file.parent.name not in given.only:
            continue
        permute(file.parent, given.out, given.seed)
        made += 1
    print(f"{made} cases in {given.out}")


if __name__ == "__main__":
    main()
