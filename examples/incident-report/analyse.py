#!/usr/bin/env python3
"""Turns /workspace/in/incidents.csv into a report and a chart in /workspace/out.

It needs nothing but Python's standard library, no network and no other file: what it is given goes in,
what it leaves in /workspace/out comes back.
"""

import csv
import datetime
from collections import defaultdict
from html import escape
from pathlib import Path
from statistics import mean, median

INPUT = Path("/workspace/in/incidents.csv")
OUTPUT = Path("/workspace/out")
TOP_CAUSES = 5


def read_incidents(path):
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {
                **row,
                "started_at": datetime.datetime.strptime(row["started_at"], "%Y-%m-%dT%H:%MZ"),
                "acknowledged_minutes": int(row["acknowledged_minutes"]),
                "duration_minutes": int(row["duration_minutes"]),
                "customers_affected": int(row["customers_affected"]),
            }
            for row in csv.DictReader(file)
        ]


def grouped(incidents, key):
    """The incidents by `key`, which is a column or a function."""
    groups = defaultdict(list)
    for incident in incidents:
        groups[key(incident) if callable(key) else incident[key]].append(incident)
    return groups


def mttr(incidents):
    """Mean minutes from the start to the repair."""
    return mean(incident["duration_minutes"] for incident in incidents)


def mtta(incidents):
    """Mean minutes from the start until somebody took it up."""
    return mean(incident["acknowledged_minutes"] for incident in incidents)


def hours(incidents):
    return sum(incident["duration_minutes"] for incident in incidents) / 60


def week(incident):
    """The Monday of its week."""
    day = incident["started_at"].date()
    return day - datetime.timedelta(days=day.weekday())


def table(header, rows):
    """A Markdown table; every column but the first is aligned to the right."""
    lines = [header, ["---"] + ["---:"] * (len(header) - 1), *rows]
    return "\n".join("| " + " | ".join(str(cell) for cell in line) + " |" for line in lines)


def report(incidents):
    first, last = incidents[0]["started_at"].date(), incidents[-1]["started_at"].date()
    services = sorted(grouped(incidents, "service").items(), key=lambda item: -mttr(item[1]))
    severities = sorted(grouped(incidents, "severity").items())
    causes = sorted(grouped(incidents, "root_cause").items(), key=lambda item: -hours(item[1]))
    monday, worst = max(grouped(incidents, week).items(), key=lambda item: hours(item[1]))
    cause, of_cause = max(grouped(worst, "root_cause").items(), key=lambda item: len(item[1]))
    typical = hours(incidents) / len(grouped(incidents, week))

    return f"""# Incident report, {first:%-d %B %Y} to {last:%-d %B %Y}

- **{len(incidents):,} incidents**, {hours(incidents):,.0f} hours in all.
- **Mean time to repair: {mttr(incidents):.0f} minutes** (median \
{median(incident["duration_minutes"] for incident in incidents):.0f}).
- **Mean time to acknowledge: {mtta(incidents):.0f} minutes.**
- {services[0][0].capitalize()} takes longest to repair, {mttr(services[0][1]):.0f} minutes; \
{services[-1][0]} is quickest, {mttr(services[-1][1]):.0f}.

![Mean time to repair by service](mttr.svg)

## By service

{table(["Service", "Incidents", "MTTR, min", "MTTA, min", "Hours"], [
    [name, len(group), f"{mttr(group):.0f}", f"{mtta(group):.0f}", f"{hours(group):,.0f}"]
    for name, group in services
])}

## By severity

{table(["Severity", "Incidents", "Share", "MTTR, min", "MTTA, min", "Customers, median"], [
    [
        name,
        len(group),
        f"{len(group) / len(incidents):.0%}",
        f"{mttr(group):.0f}",
        f"{mtta(group):.0f}",
        f'{median(incident["customers_affected"] for incident in group):,.0f}',
    ]
    for name, group in severities
])}

## The worst week

The week of {monday:%-d %B %Y}: {len(worst)} incidents and {hours(worst):,.0f} hours, where a week has \
{typical:,.0f} on average. {len(of_cause)} of them were a {cause}.

## What it came from

{table(["Root cause", "Incidents", "Hours", "Share of hours"], [
    [name, len(group), f"{hours(group):,.0f}", f"{hours(group) / hours(incidents):.0%}"]
    for name, group in causes[:TOP_CAUSES]
])}
"""


WIDTH, LEFT, RIGHT, TOP, ROW, BAR = 760, 120, 64, 96, 40, 20
INK, QUIET, GRID = "#1f2933", "#627386", "#e4e9ee"
WAITING, MENDING = "#f0a04b", "#2f6f9f"


def chart(incidents):
    """Horizontal bars: minutes until taken up, then minutes until repaired."""
    bars = sorted(
        ((name, mtta(group), mttr(group)) for name, group in grouped(incidents, "service").items()),
        key=lambda bar: -bar[2],
    )
    step = 20
    most = step * -(-int(bars[0][2] + 1) // step)
    height = TOP + ROW * len(bars) + 44
    bottom = TOP + ROW * len(bars)
    scale = (WIDTH - LEFT - RIGHT) / most

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" '
        f'height="{height}" role="img" aria-labelledby="title" '
        f'font-family="system-ui, -apple-system, Segoe UI, Helvetica, Arial, sans-serif" font-size="13">',
        '<title id="title">Mean time to repair by service, in minutes</title>',
        f'<rect width="{WIDTH}" height="{height}" rx="8" fill="#ffffff"/>',
        f'<text x="24" y="36" font-size="18" font-weight="600" fill="{INK}">Mean time to repair by service</text>',
        f'<text x="24" y="58" fill="{QUIET}">Minutes from the start of an incident, '
        f"{len(incidents):,} incidents</text>",
    ]
    for x, colour, words in [(456, WAITING, "until acknowledged"), (624, MENDING, "until repaired")]:
        parts.append(f'<rect x="{x}" y="25" width="12" height="12" rx="3" fill="{colour}"/>')
        parts.append(f'<text x="{x + 18}" y="36" fill="{QUIET}">{words}</text>')
    for minutes in range(0, most + 1, step):
        x = LEFT + minutes * scale
        parts.append(
            f'<line x1="{x:.1f}" y1="{TOP - 8}" x2="{x:.1f}" y2="{bottom}" stroke="{GRID}"/>'
            f'<text x="{x:.1f}" y="{bottom + 20}" text-anchor="middle" fill="{QUIET}">{minutes}</text>'
        )
    for index, (name, acknowledged, repaired) in enumerate(bars):
        y = TOP + ROW * index + (ROW - BAR) // 2 - 4
        split, end = LEFT + acknowledged * scale, LEFT + repaired * scale
        middle = y + BAR / 2 + 4.5
        parts.append(
            f'<text x="{LEFT - 12}" y="{middle}" text-anchor="end" fill="{INK}">{escape(name)}</text>'
            f'<rect x="{LEFT}" y="{y}" width="{end - LEFT:.1f}" height="{BAR}" rx="3" fill="{MENDING}"/>'
            f'<path d="M{LEFT + 3},{y}H{split:.1f}v{BAR}H{LEFT + 3}a3,3 0 0 1 -3,-3v{6 - BAR}a3,3 0 0 1 3,-3z" '
            f'fill="{WAITING}"/>'
            f'<text x="{end + 8:.1f}" y="{middle}" font-weight="600" fill="{INK}">{repaired:.0f}</text>'
        )
    parts.append("</svg>")
    return "\n".join(parts) + "\n"


def main():
    incidents = read_incidents(INPUT)
    OUTPUT.mkdir(exist_ok=True)
    (OUTPUT / "report.md").write_text(report(incidents), encoding="utf-8")
    (OUTPUT / "mttr.svg").write_text(chart(incidents), encoding="utf-8")
    print(f"{len(incidents):,} incidents, MTTR {mttr(incidents):.0f} min, MTTA {mtta(incidents):.0f} min")


if __name__ == "__main__":
    main()
