"""What the three references share: raw rows, exact rounding, the newest of duplicates.

The references build documents from raw rows in plain Python, by the rules of the contract and not by the
exports' SQL, so that the engine's documents can be compared with them leaf by leaf. DuckDB only reads files."""

import argparse
import datetime as dt
import json
import pathlib
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal
from fractions import Fraction

import duckdb

EPOCH = dt.datetime(1, 1, 1, tzinfo=dt.timezone.utc)


def source(data, table):
    for suffix, reader in ((".parquet", "read_parquet"), (".jsonl", "read_json_auto"), (".json", "read_json_auto"),
                           (".csv", "read_csv_auto")):
        path = pathlib.Path(data, *table.split(".")).with_suffix(suffix)
        if path.exists():
            options = ", nullstr='', sample_size=-1" if suffix == ".csv" else ""
            return f"{reader}('{path}'{options})"
    return None


def load(data, table, where="TRUE"):
    """Raw rows as dictionaries; a table that is not there has none."""
    found = source(data, table)
    if found is None:
        return []
    con = duckdb.connect()
    con.execute("SET timezone = 'UTC'")
    cursor = con.execute(f"SELECT * FROM {found} WHERE {where}")
    names = [c[0] for c in cursor.description]
    return [Row(zip(names, row)) for row in cursor.fetchall()]


class Row(dict):
    """A column that the file lacks is NULL."""

    def __missing__(self, key):
        return None


def stamp(value):
    """A timestamp that sorts; NULL is the oldest."""
    if value is None:
        return EPOCH
    if isinstance(value, str):
        value = dt.datetime.fromisoformat(value.replace("Z", "+00:00"))
    return value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)


def exact(value):
    return Fraction(str(value)) if isinstance(value, float) else Fraction(value)


def rounded(value, places):
    """Half away from zero, once, from an exact value."""
    if value is None:
        return None
    scaled = abs(exact(value)) * 10 ** places
    whole = (scaled.numerator * 2 + scaled.denominator) // (scaled.denominator * 2)
    return Fraction(whole if value >= 0 else -whole, 10 ** places)


def mean(values, places=1):
    values = [exact(v) for v in values if v is not None]
    return rounded(sum(values) / len(values), places) if values else None


def ratio(part, whole, places=3):
    return rounded(Fraction(part, whole), places) if whole else None


def fixed(value, places=1, sign=False):
    text = Decimal(exact(value).numerator) / Decimal(exact(value).denominator)
    text = text.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP)
    return f"{text:+f}" if sign else f"{text:f}"


def newest(rows, key, age):
    """One row for each key: the one with the greatest age."""
    best = {}
    for row in rows:
        k = key(row)
        if k not in best or age(row) > age(best[k]):
            best[k] = row
    return best


def grouped(rows, key):
    groups = defaultdict(list)
    for row in rows:
        groups[key(row)].append(row)
    return groups


def season_of(date):
    return date.year if date.month >= 10 else date.year - 1


def played(row):
    return row["minutes_played"] is not None and row["minutes_played"] > 0


def at_home(row):
    return row["game_id"].split("_")[2] == row["team_abbr"]


def box_scores(data, where):
    rows = load(data, "nba_analytics.player_game_summary", where)
    rows = newest(rows, lambda r: (r["player_lookup"], r["game_id"]),
                  lambda r: (stamp(r["processed_at"]), r["points"] if r["points"] is not None else -1)).values()
    return grouped(sorted(rows, key=lambda r: (r["game_date"], r["game_id"]), reverse=True),
                   lambda r: r["player_lookup"])


def with_rest(newest_first):
    """Days of rest of each entry: the days between two games less one."""
    for row, before in zip(newest_first, newest_first[1:] + [None]):
        row["rest"] = (row["game_date"] - before["game_date"]).days - 1 if before else None
    return newest_first


def names(data, season):
    rows = [r for r in load(data, "nba_reference.nba_players_registry") if int(r["season"][:4]) <= season]
    rows.sort(key=lambda r: r["team_abbr"], reverse=True)
    best = newest(rows, lambda r: r["player_lookup"], lambda r: (r["season"], r["games_played"] or 0))
    return {k: r["player_name"] for k, r in best.items()}


def display_confidence(predicted, line, confidence, recommendation):
    value = 15 + min(Fraction(30), max(Fraction(0), (exact(confidence) - 75) * Fraction(3, 2)))
    if line is None:
        value = min(value, Fraction(50))
    else:
        value += min(Fraction(50), 7 * abs(exact(predicted) - exact(line)))
        if recommendation == "PASS":
            value = min(value, Fraction(40))
    return int(min(98, max(5, rounded(value, 0))))


def predictions(data, date, champion):
    rows = load(data, "nba_predictions.player_prop_predictions",
                f"game_date = DATE '{date}' AND system_id = '{champion}' AND is_active")
    return newest(rows, lambda r: (r["player_lookup"], r["game_id"]),
                  lambda r: (stamp(r["created_at"]), r["prediction_id"]))


def injuries(data, date, days=7):
    first = date - dt.timedelta(days=days - 1)                # the days that end with the date itself
    rows = load(data, "nba_raw.nbac_injury_report", f"report_date BETWEEN DATE '{first}' AND DATE '{date}'")
    rows.sort(key=lambda r: r["injury_status"], reverse=True)
    return newest(rows, lambda r: r["player_lookup"],
                  lambda r: (r["report_date"], r["report_hour"], stamp(r["processed_at"])))


def slate(data, date):
    rows = load(data, "nba_analytics.upcoming_player_game_context", f"game_date = DATE '{date}'")
    return newest(rows, lambda r: (r["player_lookup"], r["game_id"]), lambda r: stamp(r["processed_at"]))


def fatigue(data, date):
    rows = load(data, "nba_precompute.player_composite_factors", f"game_date = DATE '{date}'")
    return {(r["player_lookup"], r["game_id"]): r for r in rows}


def fatigue_level(score):
    if score is None:
        return "normal"
    return "fresh" if score >= 95 else "normal" if score >= 75 else "tired"


def plain(value):
    """What JSON writes."""
    if isinstance(value, dict):
        return {k: plain(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [plain(v) for v in value]
    if isinstance(value, bool) or value is None or isinstance(value, (int, str)):
        return value
    if isinstance(value, Fraction):
        return int(value) if value.denominator == 1 else float(value)
    if isinstance(value, (Decimal, float)):
        return int(value) if value == int(value) else float(value)
    if isinstance(value, dt.datetime):
        return stamp(value).astimezone(dt.timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")
    if isinstance(value, dt.date):
        return value.isoformat()
    raise TypeError(f"no JSON for {value!r}")


def main(documents):
    """The command line of a reference: writes its documents below --out."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--data", required=True)
    parser.add_argument("--date", required=True, type=dt.date.fromisoformat)
    parser.add_argument("--now", required=True)
    parser.add_argument("--champion", default="catboost_v12")
    parser.add_argument("--min-games", type=int, default=5)
    parser.add_argument("--out", required=True)
    args = parser.parse_args()
    count = 0
    for path, document in documents(args):
        target = pathlib.Path(args.out, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(json.dumps(plain(document), ensure_ascii=False, indent=1))
        count += 1
    print(count, "documents")
