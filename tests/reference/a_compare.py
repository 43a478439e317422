#!/usr/bin/env python3
"""Compares published documents with the references, leaf by leaf.

    a_compare.py DATA OUT DATE [--champion ensemble_v1] [--today DATE] [--only results,streaks] [--print]

OUT is the store's folder with its prefix (`OUT/v1`). `--print` writes the reference documents instead. Texts that the
contract leaves open (`methodology`, `rationale`) and `generated_at` are not compared. Exit code 1 when a leaf differs.
"""

import argparse
import json
import pathlib
import sys

import a_best_bets
import a_common
import a_performance
import a_predictions
import a_results
import a_streaks

DOCUMENTS = {
    "results": (a_results, "results/{day}.json"),
    "performance": (a_performance, "systems/performance.json"),
    "best-bets": (a_best_bets, "best-bets/{day}.json"),
    "predictions": (a_predictions, "predictions/{day}.json"),
    "streaks": (a_streaks, "streaks/today.json"),
}
OPEN = {"methodology", "rationale", "generated_at"}


def differences(want, have, place=""):
    """(place, wanted, found) of each leaf that differs, and the number of leaves."""
    if isinstance(want, dict) and isinstance(have, dict):
        found, leaves = [], 0
        for key in list(want) + [key for key in have if key not in want]:
            if key in OPEN:
                continue
            here = "%s.%s" % (place, key)
            if key not in want or key not in have:
                found.append((here, want.get(key, "(no key)"), have.get(key, "(no key)")))
                continue
            more, count = differences(want[key], have[key], here)
            found, leaves = found + more, leaves + count
        if [key for key in want if key not in OPEN] != [key for key in have if key not in OPEN] and not found:
            found.append((place, "keys in the order of the contract", list(have)))
        return found, leaves
    if isinstance(want, list) and isinstance(have, list):
        found, leaves = [], 0
        if len(want) != len(have):
            found.append((place, "%d elements" % len(want), "%d elements" % len(have)))
        for index, (a, b) in enumerate(zip(want, have)):
            more, count = differences(a, b, "%s[%d]" % (place, index))
            found, leaves = found + more, leaves + count
        return found, leaves
    numbers = (int, float)
    if isinstance(want, numbers) and isinstance(have, numbers) and not isinstance(want, bool) and not isinstance(have, bool):
        return ([] if abs(want - have) < 1e-9 else [(place, want, have)]), 1
    return ([] if want == have and type(want) is type(have) else [(place, want, have)]), 1


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("data")
    parser.add_argument("out")
    parser.add_argument("day", type=a_common.DATE.fromisoformat)
    parser.add_argument("--champion", default="ensemble_v1")
    parser.add_argument("--today", type=a_common.DATE.fromisoformat)
    parser.add_argument("--only", default=",".join(DOCUMENTS))
    parser.add_argument("--print", action="store_true")
    args = parser.parse_args()
    tables, bad = a_common.Tables(args.data), False
    for name in args.only.split(","):
        module, path = DOCUMENTS[name]
        want = module.document(tables, args.day, args.champion, "", args.today)
        path = pathlib.Path(args.out) / path.format(day=args.day)
        if args.print:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(want, indent=1))
            continue
        found, leaves = differences(want, json.loads(path.read_text()))
        print("%-12s %s %6d leaves, %d differ" % (name, args.day, leaves, len(found)))
        for place, a, b in found[:10]:
            print("    %s: wanted %r, found %r" % (place, a, b))
        bad = bad or bool(found)
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
