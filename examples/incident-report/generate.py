#!/usr/bin/env python3
"""Prints incidents.csv: a year of incidents of a service that does not exist.

The same seed gives the same lines on every Python: of the random module only random.random() is used,
whose sequence is guaranteed.
"""

import csv
import datetime
import math
import random
import sys

SEED = 20261120
INCIDENTS = 2_000
START = datetime.datetime(2025, 11, 3)  # a Monday
DAYS = 364

#        service        share  minutes to mend  minutes to notice
SERVICES = [
    ("checkout", 0.14, 46, 4),
    ("identity", 0.09, 58, 5),
    ("search", 0.16, 31, 9),
    ("catalogue", 0.13, 27, 11),
    ("payments", 0.10, 74, 3),
    ("delivery", 0.12, 62, 14),
    ("messaging", 0.11, 39, 17),
    ("reporting", 0.15, 96, 38),
]
REGIONS = [("eu-north", 0.34), ("eu-west", 0.27), ("us-east", 0.25), ("ap-south", 0.14)]
SEVERITIES = [("sev1", 0.04), ("sev2", 0.14), ("sev3", 0.37), ("sev4", 0.45)]
CAUSES = [
    ("bad deployment", 0.24),
    ("configuration change", 0.17),
    ("dependency outage", 0.15),
    ("capacity exhausted", 0.13),
    ("expired certificate", 0.05),
    ("database failover", 0.09),
    ("network partition", 0.07),
    ("queue backlog", 0.11),
    ("unknown", 0.06),
]
# How much longer an incident takes, and how many customers feel it.
WEIGHT = {"sev1": (2.6, 9_000), "sev2": (1.6, 1_800), "sev3": (1.0, 260), "sev4": (0.6, 30)}
SLOW_CAUSES = {"network partition": 1.7, "unknown": 1.9, "expired certificate": 0.6}
BAD_WEEK = 32  # one network partition after another
BAD_WEEK_SHARE = 0.035


def pick(rng, weighted):
    """One of the names, by weight."""
    point = rng.random() * sum(entry[1] for entry in weighted)
    for entry in weighted:
        point -= entry[1]
        if point < 0:
            return entry
    return weighted[-1]


def spread(rng, middle, width):
    """A positive number around `middle` with a long tail, as durations have."""
    normal = sum(rng.random() for _ in range(12)) - 6
    return middle * math.exp(width * normal)


def moment(rng, bad_week):
    """A minute of the year: more by day than by night, fewer at the weekend."""
    while True:
        if bad_week:
            day = 7 * BAD_WEEK + int(rng.random() * 7)
        else:
            day = int(rng.random() * DAYS)
        minute = int(rng.random() * 24 * 60)
        when = START + datetime.timedelta(days=day, minutes=minute)
        busy = (1.0 if 8 <= when.hour < 19 else 0.35) * (1.0 if when.weekday() < 5 else 0.45)
        if rng.random() < busy:
            return when


def incident(rng):
    bad_week = rng.random() < BAD_WEEK_SHARE
    when = moment(rng, bad_week)
    service, _, mend, notice = pick(rng, SERVICES)
    region = pick(rng, REGIONS)[0]
    severity = pick(rng, SEVERITIES)[0]
    cause = "network partition" if bad_week and rng.random() < 0.8 else pick(rng, CAUSES)[0]
    longer, customers = WEIGHT[severity]
    acknowledged = max(1, round(spread(rng, notice / longer, 0.7)))
    duration = acknowledged + round(spread(rng, mend * longer * SLOW_CAUSES.get(cause, 1.0), 0.8))
    return {
        "started_at": when.strftime("%Y-%m-%dT%H:%MZ"),
        "service": service,
        "severity": severity,
        "region": region,
        "acknowledged_minutes": acknowledged,
        "duration_minutes": duration,
        "root_cause": cause,
        "customers_affected": round(spread(rng, customers, 1.1)),
    }


def main():
    rng = random.Random(SEED)
    rows = sorted((incident(rng) for _ in range(INCIDENTS)), key=lambda row: row["started_at"])
    writer = csv.DictWriter(sys.stdout, ["id", *rows[0]], lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(rows, start=1):
        writer.writerow({"id": f"INC-{number:04}", **row})


if __name__ == "__main__":
    main()
