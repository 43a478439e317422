"""What the reference documents share: rows read whole, exact numbers, one rounding.

The references are written from the contract (exports.md), not from the project's SQL: plain loops over rows that come from
simple SELECTs. They need Python with duckdb, and are run by hand or by `a_compare.py`, never by the project's own tests.
"""

import datetime
import decimal
import fractions

import duckdb

DATE = datetime.date


class Tables:
    """The sample warehouse, `<dataset>/<table>.parquet` below a folder."""

    def __init__(self, folder):
        self.folder = folder
        self.db = duckdb.connect()
        self.db.execute("SET TimeZone='UTC'")

    def rows(self, table, where="TRUE", *values):
        """Rows as dicts; numbers exact; a column that the file lacks is None (see `get`)."""
        path = "%s/%s.parquet" % (self.folder, table.replace(".", "/"))
        found = self.db.execute("SELECT * FROM '%s' WHERE %s" % (path, where), list(values))
        names = [column[0] for column in found.description]
        return [Row(zip(names, map(exact, values))) for values in found.fetchall()]


class Row(dict):
    """A row whose missing columns are None, as a column of the DDL that a file lacks is NULL."""

    def __missing__(self, name):
        return None


def exact(value):
    return fractions.Fraction(value) if isinstance(value, decimal.Decimal) else value


def rounded(value, places):
    """Half away from zero, once, as a number that JSON prints."""
    if value is None:
        return None
    scaled = abs(fractions.Fraction(value)) * 10 ** places
    whole = int(scaled + fractions.Fraction(1, 2))
    result = fractions.Fraction(whole, 10 ** places)
    return number(-result if value < 0 else result)


def number(value):
    """An exact value as a JSON number: 20, not 20.0."""
    if value is None or isinstance(value, (bool, int)):
        return value
    if isinstance(value, fractions.Fraction):
        return int(value) if value.denominator == 1 else float(value)
    return int(value) if value == int(value) else value


def ratio(part, whole):
    return None if not whole else fractions.Fraction(part) / whole


def mean(values):
    values = [value for value in values if value is not None]
    return ratio(sum(values, fractions.Fraction(0)), len(values))


def season_of(day):
    """The first year of the season that holds the day: a season begins in October."""
    return day.year if day.month >= 10 else day.year - 1


def newest(rows, key, *by):
    """The newest row of each key."""
    best = {}
    for row in rows:
        age = tuple(str(row[name]) if row[name] is not None else "" for name in by)
        if row[key] not in best or age > best[row[key]][0]:
            best[row[key]] = (age, row)
    return {name: row for name, (_, row) in best.items()}
