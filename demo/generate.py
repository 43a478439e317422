#!/usr/bin/env python3
"""Makes the demo warehouse: an invented league around 2025-12-12, with the awkward rows that real tables have.

    python3 demo/generate.py [FOLDER]        # default: demo/warehouse

The same bytes every time: one seed, no clock, no hash order. Nobody and no club in it exists. Days worth a look:

    2025-12-11  three finished games, graded        2025-12-12  one game in progress, two to come
    2025-12-05  a game postponed to 2025-12-09      2025-12-10  no games
    2025-12-14  a Sunday, for the profiles
"""

import csv
import datetime as dt
import json
import pathlib
import random
import re
import sys
import unicodedata
from collections import defaultdict
from decimal import ROUND_HALF_UP, Decimal

HERE = pathlib.Path(__file__).resolve().parent
SEED = 20251212
TONIGHT = dt.date(2025, 12, 12)
OPENING, SUNDAY = dt.date(2025, 11, 3), dt.date(2025, 12, 14)
CHAMPION = "catboost_v12"
SYSTEMS = {  # name, type, version, description, how far its predictions stray, first day
    CHAMPION: ("CatBoost V12", "model", "v12", "Gradient-boosted trees on form, rest and match-up", 2.6, OPENING),
    "ensemble_v3": ("Ensemble V3", "rule", "v3", "The weighted mean of the rule systems", 3.0, dt.date(2025, 11, 24)),
    "moving_average_v1": ("Moving Average V1", "rule", "v1", "The mean of the last ten games", 3.6,
                          dt.date(2025, 11, 24)),
}
TEAMS = {"HAV": "Gulls", "MIR": "Herons", "OSK": "Pines", "TAL": "Lamplighters",
         "KES": "Kites", "VOR": "Bears", "DUN": "Reeds", "SLW": "Seals"}
FIRST = ("Abel Brisk Corvin Dario Edrin Fenn Galen Hollis Ivo Jarrit Kaspen Lorne Matteus Nevin Orrin Pell Quade "
         "Rusk Soren Tavish Ulmer Vance Wystan Yorick Zev Anselm Bram Cael Doran Emric").split()
LAST = ("Ashgrove Brackenfell Coldharbour Dunmoor Elderwick Fallowmere Greyholt Hexwater Ironfold Jessamere "
        "Kettleby Larkspire Mossgate Netherby Oakenshaw Pellwright Quillfeather Ravensleigh Stonecroft Thistledown "
        "Umberlake Vexholme Wintermead Yarrowby Zellwood Amberly Birchhollow Cinderford Driftwell Emberstone "
        "Foxglen Gorseby Hollowmarsh Inkwell Juniperus Kingsmere Lanternby Marrowick Nightsedge Otterburn").split()
POSITIONS = ["G", "F", "C", None]
TRADED, TRADE_DAY = ("HAV", "VOR"), dt.date(2025, 12, 1)


def tenth(value):
    return Decimal(str(value)).quantize(Decimal("0.1"), ROUND_HALF_UP)


def places(value, count):
    return Decimal(str(value)).quantize(Decimal(1).scaleb(-count), ROUND_HALF_UP)


def mean(values):
    values = list(values)
    return sum(values) / len(values) if values else None


def lookup(name):
    plain = unicodedata.normalize("NFKD", name).encode("ascii", "ignore").decode()
    return re.sub(r"[^a-z0-9]", "", plain.lower())


def utc(day, hour, minute=0):
    return dt.datetime(day.year, day.month, day.day, hour, minute)


class Player:
    def __init__(self, name, team, rank, dice):
        self.name, self.lookup, self.team, self.rank = name, lookup(name), team, rank
        self.skill = max(3.0, 27.5 - 2.9 * rank + dice.uniform(-1.5, 2.5))
        self.position = POSITIONS[0 if rank % 3 == 0 else rank % 3] if rank < 9 else None
        self.games = []                                     # box scores so far, oldest first

    def team_on(self, day):
        return TRADED[1] if self.traded and day >= TRADE_DAY else self.team

    traded = False


class League:
    """Plays the season day by day and keeps every table's rows."""

    def __init__(self):
        self.dice = random.Random(SEED)
        self.rows = defaultdict(list)
        self.players = self.draft()
        self.games, self.allowed, self.last_day = [], defaultdict(list), {}
        self.number = 0

    def pick(self, low, high):
        return low + int(self.dice.random() * (high - low + 1))

    def draft(self):
        players, used = [], set()
        for team in TEAMS:
            for rank in range(10):
                name = None
                while name is None or name in used:
                    name = f"{FIRST[self.pick(0, len(FIRST) - 1)]} {LAST[self.pick(0, len(LAST) - 1)]}"
                used.add(name)
                players.append(Player(name, team, rank, self.dice))
        special = {("HAV", 0): "D'André Ñandúriz-O'Moor", ("MIR", 1): "Jörn Østerfell Jr.", ("KES", 0): "Óskar Šipkavel"}
        for p in players:
            if (p.team, p.rank) in special:
                p.name = special[p.team, p.rank]
                p.lookup = lookup(p.name)
            p.traded = (p.team, p.rank) == (TRADED[0], 3)
        return players

    def roster(self, team, day):
        return [p for p in self.players if p.team_on(day) == team]

    def put(self, table, **row):
        self.rows[table].append(row)

    # The calendar -------------------------------------------------------------------------------------------

    def calendar(self):
        """Which games on which day: (day, away, home, tip-off in UTC, status)."""
        codes, days = list(TEAMS), []
        for day in (dt.date(2025, 4, 8), dt.date(2025, 4, 10)):                  # the end of the season before
            days += [(day, codes[i], codes[7 - i], utc(day, 23, 30), 3) for i in range(4)]
        day = OPENING
        while day < dt.date(2025, 12, 9):
            if day.weekday() not in (1, 3) and day != dt.date(2025, 12, 5):      # no games on Tuesdays and Thursdays
                teams = sorted(codes, key=lambda _: self.dice.random())
                for i in range(3 if day.weekday() in (4, 5, 6) else 2):
                    days.append((day, teams[2 * i], teams[2 * i + 1], utc(day, 23 if i else 22, 30 * (i % 2)), 3))
            day += dt.timedelta(days=1)
        d = lambda n: dt.date(2025, 12, n)
        days += [(d(5), "MIR", "TAL", utc(d(6), 0, 30), 3), (d(5), "VOR", "HAV", utc(d(6), 0), 0),
                 (d(8), "KES", "DUN", utc(d(9), 1), 3),
                 (d(9), "VOR", "HAV", utc(d(10), 0), 3),                         # the postponed game, played
                 (d(11), "HAV", "OSK", utc(d(12), 0), 3), (d(11), "MIR", "SLW", utc(d(12), 0, 30), 3),
                 (d(11), "TAL", "VOR", utc(d(12), 3), 3),
                 (d(12), "SLW", "MIR", utc(d(12), 17, 30), 2),                   # half past noon: under way at 18:00
                 (d(12), "OSK", "HAV", utc(d(13), 0, 30), 1), (d(12), "DUN", "KES", utc(d(13), 3), 1),
                 (d(14), "TAL", "DUN", utc(d(14), 20, 30), 1), (d(14), "KES", "SLW", utc(d(15), 0), 1)]
        days = [g for g in days if not (g[0] == d(8) and g[3].hour != 1)]
        days = [g for g in days if not (g[0] in (d(6), d(7)) and {g[1], g[2]} & {"KES", "DUN"})]
        return sorted(days, key=lambda g: (g[0], g[3]))

    def play(self):
        days = self.calendar()
        for day in sorted({g[0] for g in days}):
            rested = dict(self.last_day)
            for game in [g for g in days if g[0] == day]:
                self.game(game, rested)
        self.daily_performance()

    def game(self, game, rested):
        day, away, home, tip_off, status = game
        league_id = "0022500" + f"{self.number + 101:03}"
        if (day, home) == (dt.date(2025, 12, 9), "HAV"):
            league_id = self.postponed
        else:
            self.number += 1
        if status == 0:
            self.postponed = league_id
        key = f"{day:%Y%m%d}_{away}_{home}"
        boxes = [self.situation(p, key, day, away, home, status, rested) for p in
                 self.roster(home, day) + self.roster(away, day)]
        points = {t: sum(b["points"] or 0 for b in boxes if b["team"] == t) for t in (away, home)}
        if points[away] == points[home] and status == 3:
            boxes[0]["points"] += 2
            boxes[0]["fg_makes"] += 1
            boxes[0]["fg_attempts"] += 1
            points[home] += 2
        season = 2025 if day.month >= 10 else 2024
        final = status == 3
        row = dict(game_id=league_id, season=str(season), season_year=season, game_date=day, game_date_est=tip_off,
                   game_status=status or 1, game_status_text={0: "PPD", 1: "Scheduled", 2: "Q2 4:12", 3: "Final"}[status],
                   home_team_tricode=home, home_team_name=TEAMS[home], away_team_tricode=away,
                   away_team_name=TEAMS[away], home_team_score=points[home] if final else 41 if status == 2 else None,
                   away_team_score=points[away] if final else 44 if status == 2 else None,
                   is_regular_season=True, is_playoffs=False, processed_at=utc(day, 12) + dt.timedelta(hours=18))
        if status in (2, 3) and self.number % 4 == 0 or day == TONIGHT:          # the row of the morning stays behind
            self.put("nba_raw.nbac_schedule", **{**row, "game_status": 1, "game_status_text": "Scheduled",
                                                 "home_team_score": None, "away_team_score": None,
                                                 "processed_at": utc(day, 9)})
        self.put("nba_raw.nbac_schedule", **row)
        for b in boxes:
            if final:
                self.box_score(b, key, day, season, points)
        for b in boxes:
            self.grade(b, key, day, status)
        for team, other in ((home, away), (away, home)):
            self.put("nba_precompute.team_defense_zone_analysis", team_abbr=team, analysis_date=day,
                     opponent_points_per_game=tenth(mean(self.allowed[team]) or 72),
                     defensive_rating_last_15=places((mean(self.allowed[team][-15:]) or 72) * 1.45, 2))
            if final:
                self.allowed[team].append(points[other])
                self.last_day[team] = day

    # One player and one game --------------------------------------------------------------------------------

    def situation(self, p, key, day, away, home, status, rested):
        """What is known of a player before a game, and what he then does."""
        team = p.team_on(day)
        played = [g for g in p.games if g["minutes"]]
        season = [g["points"] for g in played if g["day"].year == day.year and g["day"] > dt.date(2025, 8, 1)]
        average = mean(season) if season else p.skill
        line = None
        if p.rank < 7 and (day.month >= 10):
            line = tenth(round(mean(([g["points"] for g in played] or [p.skill])[-8:]) * 2 + self.dice.uniform(-2, 2)) / 2)
            line = max(line, Decimal("3.5"))
        if self.pushes(p, day):
            line = Decimal("20.0") if team == "HAV" else Decimal(int(line))       # a whole line can be pushed
        rest = (day - rested[team]).days - 1 if team in rested and (day - rested[team]).days < 60 else None
        dnp = status == 3 and not self.pushes(p, day) and self.dice.random() < (0.04 if p.rank < 7 else 0.22)
        b = {"player": p, "team": team, "opponent": home if team == away else away, "home": team == home, "day": day,
             "line": line, "average": average, "rest": rest, "dnp": dnp, "points": None, "minutes": None,
             "season_games": len(season)}
        if status == 3 and not dnp:
            self.perform(b, p, line, day)
        if day.month >= 10:
            self.before_tip_off(b, key, day, status)
        return b

    @staticmethod
    def pushes(p, day):
        """The two whose points will be exactly their lines."""
        return day == dt.date(2025, 12, 11) and (p.team, p.rank) in (("HAV", 2), ("SLW", 2))

    def perform(self, b, p, line, day):
        minutes = max(4.0, min(41.0, 38 - 2.6 * p.rank + self.dice.uniform(-5, 5)))
        hot = 1.28 if p.rank == 1 and p.team in ("OSK", "KES") and day > dt.date(2025, 11, 22) else 1.0
        points = max(0, round(p.skill * hot * self.dice.uniform(0.55, 1.45)))
        if self.pushes(p, day):
            points = int(line)
        threes = min(points // 3, self.pick(0, 4))
        free = min(points - 3 * threes, self.pick(0, 6))
        if (points - 3 * threes - free) % 2:
            free += 1 if free == 0 else -1
        twos = (points - 3 * threes - free) // 2
        tries = threes + self.pick(0, 4)
        b.update(points=points, minutes=tenth(minutes), three_pt_makes=threes, three_pt_attempts=tries, ft_makes=free,
                 ft_attempts=free + (self.pick(0, 2) if free else 0), fg_makes=twos + threes,
                 fg_attempts=twos + tries + self.pick(1, 7))

    def before_tip_off(self, b, key, day, status):
        p, line = b["player"], b["line"]
        opened = None if line is None else line - Decimal(self.pick(-2, 2)) / 2
        common = dict(player_lookup=p.lookup, game_id=key, game_date=day)
        row = dict(common, team_abbr=b["team"], opponent_team_abbr=b["opponent"],
                   home_game=None if (p.team, p.rank) == ("DUN", 9) else b["home"],
                   back_to_back=None if b["rest"] is None else b["rest"] == 0, days_rest=b["rest"],
                   has_prop_line=line is not None, opening_points_line=opened, current_points_line=line,
                   line_movement=None if line is None else line - opened, processed_at=utc(day, 13))
        if day >= dt.date(2025, 12, 11) and p.rank == 4:                         # an earlier run's row
            self.put("nba_analytics.upcoming_player_game_context",
                     **{**row, "current_points_line": opened, "processed_at": utc(day, 10)})
        self.put("nba_analytics.upcoming_player_game_context", **row)
        if day > TONIGHT:
            return
        recent = sum(float(g["minutes"] or 0) for g in p.games[-3:] if (day - g["day"]).days <= 7)
        score = max(0, min(100, 100 - int(recent / 3.6) + self.pick(-4, 4)))
        context = json.dumps({"games_last_7": sum((day - g["day"]).days <= 7 for g in p.games),
                              "minutes_last_7": int(recent), "days_rest": b["rest"]})
        if p.rank == 5:
            context = json.dumps(context)                                        # encoded twice, as it happens
        if (p.team, p.rank) != ("OSK", 9):                                       # one player is not known there
            self.put("nba_precompute.player_composite_factors", **common, fatigue_score=score,
                     fatigue_context_json=None if p.rank == 8 else context)
        alert = "yellow" if p.rank == 6 and self.dice.random() < 0.3 else "green"
        b["quality"] = (alert, places(100 if alert == "green" else 71.5, 2), 0 if alert == "green" else 4)
        self.put("nba_predictions.ml_feature_store_v2", **common, is_home=b["home"], days_rest=b["rest"],
                 feature_2_value=round(b["average"], 4), feature_16_value=1.0 if b["rest"] == 0 else 0.0,
                 matchup_quality_pct=round(self.dice.uniform(0, 100), 1), feature_quality_score=b["quality"][1],
                 quality_alert_level=alert, default_feature_count=b["quality"][2])
        b["calls"] = [self.predict(b, system, key, day) for system in SYSTEMS if day >= SYSTEMS[system][5]]
        if line is not None and day >= dt.date(2025, 12, 8):
            self.props(b, day)

    def predict(self, b, system, key, day):
        p, line = b["player"], b["line"]
        stray = SYSTEMS[system][4]
        centre = 0.55 * p.skill + 0.45 * b["average"]
        bold = [-4, 4][self.pick(0, 1)] if system == CHAMPION and self.dice.random() < 0.18 else 0
        predicted = tenth(max(0.5, centre + bold + self.dice.uniform(-stray, stray)))
        confidence = places(62 + 33 * self.dice.random(), 2)
        call = "NO_LINE"
        if line is not None:
            edge = predicted - line
            call = "PASS" if abs(edge) < Decimal("1.5") else "OVER" if edge > 0 else "UNDER"
        else:
            confidence = Decimal("50.00")
        if self.pushes(p, day) and system == CHAMPION:
            predicted, call = line + Decimal("3.4"), "OVER"
        row = dict(prediction_id=f"{system}|{day}|{p.lookup}|v1", system_id=system, player_lookup=p.lookup,
                   game_date=day, game_id=key, predicted_points=predicted, confidence_score=confidence,
                   recommendation=call, has_prop_line=line is not None, current_points_line=line,
                   line_margin=None if line is None else predicted - line,
                   line_source="ACTUAL_PROP" if line is not None else "NO_PROP_LINE",
                   pace_adjustment=places(self.dice.uniform(-1.5, 1.5), 2), similar_games_count=self.pick(4, 22),
                   quality_alert_level=b["quality"][0], feature_quality_score=b["quality"][1],
                   default_feature_count=b["quality"][2], is_active=True, created_at=utc(day, 14, 5), updated_at=None)
        if system == CHAMPION and p.rank in (1, 5):                              # the morning's run, replaced or not
            self.put("nba_predictions.player_prop_predictions",
                     **{**row, "prediction_id": row["prediction_id"][:-2] + "v0",
                        "predicted_points": predicted + 2, "is_active": p.rank == 5, "created_at": utc(day, 11)})
        self.put("nba_predictions.player_prop_predictions", **row)
        return row

    def props(self, b, day):
        p = b["player"]
        for bookmaker in ("Northbook", "Tidewater"):
            for side in ("over", "under"):
                odds = -110 + 5 * self.pick(-3, 2)
                if day == TONIGHT and p.rank == 0:
                    odds = -50 if bookmaker == "Northbook" else 0                # no American odds
                if day == TONIGHT and p.rank == 1 and side == "under":
                    odds = 105
                self.put("nba_raw.bettingpros_player_points_props", game_date=day, market_type="points",
                         player_lookup=p.lookup, player_name=p.name, bookmaker=bookmaker, bet_side=side,
                         points_line=float(b["line"]), odds_american=odds, is_best_line=True,
                         bookmaker_last_update=utc(day, 16))
        if p.rank == 3:
            self.put("nba_raw.bettingpros_player_points_props", game_date=day, market_type="rebounds",
                     player_lookup=p.lookup, player_name=p.name, bookmaker="Tidewater", bet_side="over",
                     points_line=float(b["line"]), odds_american=-300, is_best_line=True,
                     bookmaker_last_update=utc(day, 16))

    # After the game -----------------------------------------------------------------------------------------

    def box_score(self, b, key, day, season, points):
        p, line = b["player"], b["line"]
        names = ("fg_makes", "fg_attempts", "three_pt_makes", "three_pt_attempts", "ft_makes", "ft_attempts")
        some = lambda high: None if b["dnp"] else self.pick(0, high)
        result = None
        if line is not None and not b["dnp"]:
            result = "PUSH" if b["points"] == line else "OVER" if b["points"] > line else "UNDER"
        row = dict(player_lookup=p.lookup, player_full_name=p.name, game_id=key, game_date=day, season_year=season,
                   team_abbr=b["team"], opponent_team_abbr=b["opponent"], points=b["points"],
                   minutes_played=b["minutes"], assists=some(9), offensive_rebounds=some(3), defensive_rebounds=some(8),
                   steals=some(3), blocks=some(2), turnovers=some(4), **{n: b.get(n) for n in names},
                   plus_minus=None if b["dnp"] else self.pick(-18, 18),
                   win_flag=points[b["team"]] > points[b["opponent"]], points_line=line, over_under_result=result,
                   is_dnp=b["dnp"], dnp_reason=["Coach's Decision", "Injury/Illness", None][self.pick(0, 2)]
                   if b["dnp"] else None, processed_at=utc(day, 12) + dt.timedelta(hours=18))
        if self.dice.random() < 0.03 and not b["dnp"]:                           # a correction left the old row behind
            self.put("nba_analytics.player_game_summary",
                     **{**row, "points": b["points"] + 1, "processed_at": utc(day, 12) + dt.timedelta(hours=16)})
        self.put("nba_analytics.player_game_summary", **row)
        p.games.append(b)

    def grade(self, b, key, day, status):
        if status in (1, 2) or not b.get("calls"):
            return
        void = "postponed" if status == 0 else "dnp_unknown" if b["dnp"] else None
        for call in b["calls"]:
            predicted, actual, line = call["predicted_points"], b["points"], b["line"]
            correct = None
            if void is None and call["recommendation"] in ("OVER", "UNDER") and actual != line:
                correct = (actual > line) == (call["recommendation"] == "OVER")
            error = None if void else predicted - actual
            self.put("nba_predictions.prediction_accuracy", player_lookup=b["player"].lookup, game_id=key,
                     game_date=day, system_id=call["system_id"], team_abbr=b["team"],
                     opponent_team_abbr=b["opponent"], predicted_points=predicted,
                     confidence_score=places(call["confidence_score"] / 100, 3),
                     recommendation=call["recommendation"], line_value=line, actual_points=actual,
                     minutes_played=b["minutes"], absolute_error=None if void else abs(error), signed_error=error,
                     prediction_correct=correct, within_3_points=None if void else abs(error) <= 3,
                     within_5_points=None if void else abs(error) <= 5, has_prop_line=line is not None,
                     line_source=call["line_source"], is_voided=void is not None, void_reason=void,
                     graded_at=utc(day, 9) + dt.timedelta(days=1))

    def daily_performance(self):
        days = defaultdict(list)
        for r in self.rows["nba_predictions.prediction_accuracy"]:
            if not r["is_voided"]:
                days[r["game_date"], r["system_id"]].append(r)
        rate = lambda part, whole, count=3: places(part / whole, count) if whole else None
        for (day, system), rows in sorted(days.items()):
            right = lambda found: sum(r["prediction_correct"] is True for r in found)
            wrong = lambda found: sum(r["prediction_correct"] is False for r in found)
            over = [r for r in rows if r["recommendation"] == "OVER"]
            under = [r for r in rows if r["recommendation"] == "UNDER"]
            sure = [r for r in over + under if r["confidence_score"] >= Decimal("0.7")]
            near = {n: sum(r[f"within_{n}_points"] for r in rows) for n in (3, 5)}
            calls = over + under
            self.put("nba_predictions.system_daily_performance", game_date=day, system_id=system,
                     predictions_count=len(rows), recommendations_count=len(calls), correct_count=right(calls),
                     incorrect_count=wrong(calls), pass_count=sum(r["recommendation"] == "PASS" for r in rows),
                     win_rate=rate(right(calls), right(calls) + wrong(calls)),
                     mae=rate(sum(r["absolute_error"] for r in rows), len(rows), 2),
                     avg_bias=rate(sum(r["signed_error"] for r in rows), len(rows), 2),
                     over_count=len(over), over_correct=right(over),
                     over_win_rate=rate(right(over), right(over) + wrong(over)),
                     under_count=len(under), under_correct=right(under),
                     under_win_rate=rate(right(under), right(under) + wrong(under)),
                     within_3_count=near[3], within_3_pct=rate(near[3], len(rows)),
                     within_5_count=near[5], within_5_pct=rate(near[5], len(rows)),
                     avg_confidence=rate(sum(r["confidence_score"] for r in rows), len(rows)),
                     high_confidence_count=len(sure), high_confidence_correct=right(sure),
                     high_confidence_win_rate=rate(right(sure), right(sure) + wrong(sure)),
                     computed_at=utc(day, 10) + dt.timedelta(days=1))

    # What does not hang on games ----------------------------------------------------------------------------

    def references(self):
        for system, (name, kind, version, text, _, _) in SYSTEMS.items():
            self.put("nba_predictions.prediction_systems", system_id=system, system_name=name, system_type=kind,
                     version=version, description=text, active=True, is_champion=system == CHAMPION)
        for p in self.players:
            if (p.team, p.rank) == ("TAL", 9):
                continue                                                         # not registered yet
            for season in ("2024-25", "2025-26"):
                stints = [p.team] + ([TRADED[1]] if p.traded and season == "2025-26" else [])
                for team in stints:
                    self.put("nba_reference.nba_players_registry", player_lookup=p.lookup, player_name=p.name,
                             team_abbr=team, season=season, position=p.position,
                             games_played=sum(g["team"] == team for g in p.games))

    def injuries(self):
        reports = [("HAV", 4, 12, 17, "Out", "Injury/Illness - Left Ankle; Sprain"),
                   ("HAV", 4, 11, 17, "Questionable", "Injury/Illness - Left Ankle; Sprain"),
                   ("OSK", 1, 12, 13, "Doubtful", "Injury/Illness - Back; Soreness"),
                   ("OSK", 1, 12, 17, "Probable", None),                         # the later report of the same day wins
                   ("KES", 2, 9, 17, "Questionable", "Injury/Illness - N/A; Illness"),
                   ("DUN", 0, 1, 17, "Out", "Rest"),                             # too old to mean tonight
                   ("MIR", 8, 12, 17, "Out", "G League - Two-Way")]
        for team, rank, day, hour, status, reason in reports:
            p = next(p for p in self.players if (p.team, p.rank) == (team, rank))
            date = dt.date(2025, 12, day)
            self.put("nba_raw.nbac_injury_report", report_date=date, report_hour=hour, game_date=date, team=team,
                     player_lookup=p.lookup, player_full_name=p.name, injury_status=status.lower(), reason=reason,
                     processed_at=utc(date, hour, 5))

    def news(self):
        stories = [("espn_nba", "{} carries the {} to a fourth win in a row", "performance", None),
                   ("rotowire_nba", "{}: probable for Friday", "injury", "Probable for Friday"),
                   ("yahoo_nba", "Why {} has become the most reliable scorer that the {} have had in years", None, None),
                   ("cbs_nba", "{} on the long road back", "analysis", "The long road back"),
                   ("espn_nba", "Film room: how the {1} set {0} free", "analysis", None),
                   ("harbour_herald", "{} signs autographs for an hour", "other", None)]
        number = 0
        for p in self.players:
            for i, (source, title, category, headline) in enumerate(stories[: (6 if p.rank == 0 else 2 if p.rank == 1 else 0)]):
                number += 1
                article, day = f"a{number:04}", dt.date(2025, 12, 13) - dt.timedelta(days=2 * i)
                self.put("nba_raw.news_articles_raw", article_id=article, source=source,
                         source_url=None if i == 5 else f"https://news.example/{article}",
                         title=title.format(p.name, TEAMS[p.team]), summary=None, published_at=utc(day, 15, i),
                         scraped_at=utc(day, 16), sport="nba")
                self.put("nba_analytics.news_player_links", player_lookup=p.lookup, article_id=article, sport="nba",
                         mention_role="primary", link_confidence=0.97, article_category=category,
                         article_published_at=utc(day, 15, i), created_at=utc(day, 17))
                if category:
                    self.put("nba_analytics.news_insights", article_id=article, category=category, confidence=0.9,
                             headline=headline, ai_summary=None, extracted_at=utc(day, 18))


# The files --------------------------------------------------------------------------------------------------

LINES = {"nba_raw.nbac_injury_report", "nba_precompute.player_composite_factors", "nba_raw.news_articles_raw",
         "nba_analytics.news_player_links", "nba_analytics.news_insights", "nba_predictions.prediction_systems",
         "nba_reference.nba_players_registry"}


def columns(table):
    text = (HERE.parent / "schemas" / "tables" / f"{table}.sql").read_text()
    return re.findall(r"^  (\w+) [A-Z]", text, re.M)


def text(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%SZ")
    return "" if value is None else str(value)


def write(folder, table, rows):
    names = columns(table)
    for row in rows:
        assert set(row) == set(names), (table, set(row) ^ set(names))
    path = folder.joinpath(*table.split("."))
    path.parent.mkdir(parents=True, exist_ok=True)
    if table in LINES:
        plain = lambda v: v if v is None or isinstance(v, (bool, int, float)) else text(v)
        lines = [json.dumps({n: plain(r[n]) for n in names}, ensure_ascii=False) for r in rows]
        path.with_suffix(".jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
        return
    with open(path.with_suffix(".csv"), "w", newline="", encoding="utf-8") as file:
        out = csv.writer(file, lineterminator="\n")
        out.writerow(names)
        out.writerows([text(r[n]) for n in names] for r in rows)


def main():
    folder = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "warehouse"
    league = League()
    league.play()
    league.references()
    league.injuries()
    league.news()
    for table, rows in sorted(league.rows.items()):
        write(folder, table, rows)
        print(f"{table}: {len(rows)} rows")


if __name__ == "__main__":
    main()
