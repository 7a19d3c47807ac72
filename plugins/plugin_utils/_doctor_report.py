# Copyright (c) 2026, the rootless.gitlab_runner authors
# GNU General Public License v3.0+ (see LICENSES/GPL-3.0-or-later.txt or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Note that this plugin util is **PRIVATE** to the collection. It can have breaking changes at any time.

"""What the doctor found, as text for a terminal and as a page for a browser. Pure functions.

All that comes from a host may be hostile: control characters never reach a terminal, and the page escapes everything
and lets the browser run nothing.
"""

from __future__ import annotations

import textwrap
from typing import Any

from ansible_collections.rootless.gitlab_runner.plugins.module_utils._doctor import printable
from jinja2 import Environment

SEVERITIES = ("error", "warning", "info")


def selected(findings: list[dict[str, Any]], severity: str) -> list[dict[str, Any]]:
    """The findings that are at least as severe, the most severe first."""
    wanted = SEVERITIES[: SEVERITIES.index(severity) + 1]
    return sorted(
        (entry for entry in findings if entry["severity"] in wanted),
        key=lambda entry: SEVERITIES.index(entry["severity"]),
    )


def worst(result: dict[str, Any]) -> str:
    """The severity of the worst finding, C(none) without any. That a host was not examined is an error."""
    host = fleet({"": result})[0]
    if not host["reached"]:
        return "error"
    return next((severity for severity, count in zip(SEVERITIES, host["counts"]) if count), "none")


def headline(result: dict[str, Any]) -> str:
    """One line about a host: how many findings of each severity, and how many checks passed or could not be made.

    Of a host that was not examined it says why.
    """
    host = fleet({"": result})[0]
    if not host["reached"]:
        return f"not examined: {host['reason']}"
    counts = list(zip(host["counts"], SEVERITIES))
    names = {"error": "error", "warning": "warning", "info": "note"}
    text = ", ".join(f"{count} {names[severity]}{'s' if count > 1 else ''}" for count, severity in counts if count)
    passed, skipped = len(host["passed_checks"]), len(host["skipped_checks"])
    return f"{text or 'nothing to complain about'} ({passed} checks passed, {skipped} not made)"


def table(host: str, result: dict[str, Any], severity: str = "info", width: int = 100) -> list[tuple[str, str]]:
    """The report of one host for a terminal.

    Returns lines, each with the severity that says how to colour it (empty: not at all). Commands are never wrapped, so
    that they can be copied.
    """
    first = f"{printable(host)}: {printable(headline(result))}"
    result = fleet({host: result})[0]
    if not result["reached"]:
        return [(first, "error")]
    found = selected(result["findings"], severity)
    lines = [(first, found[0]["severity"] if found else "ok")]
    for entry in found:
        lines.append(("", ""))
        lines.append((f"  {entry['severity'].upper():8}{printable(entry['id'])}", entry["severity"]))
        lines += [(line, "") for line in _wrapped(entry["summary"], width)]
        lines += [(line, "") for line in _wrapped(f"Loss: {entry['loss']}", width) if entry["loss"]]
        lines += [
            (f"            {printable(command)}", "remedy") for text in entry["remedy"] for command in text.split("\n")
        ]
        if entry["variable"]:
            lines.append((f"          Variable of the roles: {printable(entry['variable'])}", ""))
    return lines


def _wrapped(text: str, width: int) -> list[str]:
    indent = " " * 10
    return textwrap.wrap(printable(text), max(width, 40), initial_indent=indent, subsequent_indent=indent)


def fleet(results: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The results of several hosts, the worst host first.

    A host was not reached, or could not be examined, if its result has no list of findings; then there is a reason.
    """
    hosts = []
    for name, result in results.items():
        findings = [_clean(entry) for entry in _dictionaries(result.get("findings"))]
        counts = [sum(entry["severity"] == severity for entry in findings) for severity in SEVERITIES]
        passed = result.get("passed_checks")
        hosts.append(
            {
                "host": name,
                "reached": isinstance(result.get("findings"), list),
                "reason": _reason(result),
                "counts": counts,
                "findings": findings,
                "skipped_checks": _dictionaries(result.get("skipped_checks")),
                "passed_checks": passed if isinstance(passed, list) else [],
            }
        )
    return sorted(hosts, key=lambda entry: (entry["reached"], *(-count for count in entry["counts"]), entry["host"]))


def _dictionaries(value: Any) -> list[dict[str, Any]]:
    return [entry for entry in value if isinstance(entry, dict)] if isinstance(value, list) else []


def _reason(result: dict[str, Any]) -> str:
    """Why a result has no findings, on one line."""
    if not result:
        return "there is no result"
    if result.get("skipped"):
        detail = result.get("skip_reason") or result.get("msg")
        reason = f"it was skipped ({detail})" if detail else "it was skipped"
    else:
        reason = str(result.get("msg") or "")
    return " ".join(reason.split()) or "the result has no findings"


def _clean(entry: dict[str, Any]) -> dict[str, Any]:
    """A finding in the form that the reports expect, whatever a host says it is."""
    clean: dict[str, Any] = {
        key: str(entry.get(key) or "") for key in ("id", "title", "summary", "loss", "variable", "reference")
    }
    clean["severity"] = entry.get("severity") if entry.get("severity") in SEVERITIES else "info"
    for key in ("evidence", "remedy"):
        clean[key] = [str(line) for line in entry[key]] if isinstance(entry.get(key), list) else []
    return clean


def page(results: dict[str, dict[str, Any]], generated: str = "") -> str:
    """The report of a fleet as one HTML page that needs nothing else.

    Takes the result of C(rootless_info) by host, and the time to print on it.
    """
    hosts = fleet(results)
    columns: dict[str, dict[str, Any]] = {}
    for host in hosts:
        for entry in host["findings"]:
            column = columns.setdefault(
                entry["id"], {"id": entry["id"], "title": entry["title"], "hosts": 0, "worst": 2}
            )
            column["hosts"] += 1
            column["worst"] = min(column["worst"], SEVERITIES.index(entry["severity"]))
    ordered = sorted(columns.values(), key=lambda column: (column["worst"], -column["hosts"], column["id"]))
    environment = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    return environment.from_string(PAGE).render(
        hosts=hosts,
        columns=ordered,
        severities=SEVERITIES,
        generated=generated,
        headline=headline,
        missing=sum(not host["reached"] for host in hosts),
        totals=[sum(host["counts"][index] for host in hosts) for index in range(3)],
        names=("errors", "warnings", "notes"),
    )


PAGE = """\
<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<meta name="referrer" content="no-referrer">
<title>CI hosts: {{ totals[0] }} errors, {{ totals[1] }} warnings</title>
<style>
:root {
  --back: #f6f7f9; --card: #fff; --text: #1c2128; --dim: #59636e; --line: #d6dbe1; --code: #f0f2f5;
  --error: #b3261e; --warning: #8a5a00; --info: #1f5fa8; --ok: #1a7038;
  --error-back: #fbe4e2; --warning-back: #fdf0d2; --info-back: #e1edfb; --ok-back: #e0f3e5;
}
@media (prefers-color-scheme: dark) {
  :root {
    --back: #14181d; --card: #1d232a; --text: #e4e8ed; --dim: #9aa5b1; --line: #353d47; --code: #12161b;
    --error: #ff9d94; --warning: #f0c060; --info: #8cc0ff; --ok: #7fd89a;
    --error-back: #4a1f1c; --warning-back: #43340f; --info-back: #17334f; --ok-back: #173b23;
  }
}
* { box-sizing: border-box; }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 70rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; margin: .5rem 0; }
h2 { font-size: 1.15rem; margin: 0; overflow-wrap: anywhere; }
p { margin: .4rem 0; }
a { color: inherit; }
.dim { color: var(--dim); }
.tiles { display: flex; flex-wrap: wrap; gap: .6rem; margin: 1rem 0; }
.tile { padding: .5rem .9rem; border-radius: .5rem; }
.tile b { font-size: 1.4rem; margin-right: .3rem; }
.error { color: var(--error); background: var(--error-back); }
.warning { color: var(--warning); background: var(--warning-back); }
.info { color: var(--info); background: var(--info-back); }
.ok { color: var(--ok); background: var(--ok-back); }
.card { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; margin: 1rem 0; padding: .9rem; }
.scroll { overflow: auto; max-height: 80vh; }
table { border-collapse: separate; border-spacing: 0; font-size: .9rem; }
th, td { padding: .3rem .5rem; border-bottom: 1px solid var(--line); text-align: center; }
thead th { position: sticky; top: 0; background: var(--card); vertical-align: bottom; z-index: 1; }
thead th span { writing-mode: vertical-rl; transform: rotate(180deg); white-space: nowrap; font-weight: 500; }
tbody th { position: sticky; left: 0; background: var(--card); text-align: left; font-weight: 500;
  max-width: 12rem; overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.mark { display: block; min-width: 1.7rem; border-radius: .3rem; font-weight: 600; text-decoration: none; }
details { border-top: 1px solid var(--line); }
.card > details:first-of-type { margin-top: .7rem; }
summary { cursor: pointer; padding: .6rem 0; overflow-wrap: anywhere; }
summary:focus-visible, a:focus-visible { outline: 2px solid var(--info); outline-offset: 2px; }
.badge { display: inline-block; padding: 0 .45rem; border-radius: .3rem; font-size: .8rem; font-weight: 600; }
code, pre { font-family: ui-monospace, monospace; font-size: .85rem; }
pre { background: var(--code); border: 1px solid var(--line); border-radius: .4rem; padding: .7rem; margin: .4rem 0;
  overflow-x: auto; white-space: pre; user-select: all; }
.inside { padding: 0 0 .8rem 1rem; }
.inside ul { margin: .3rem 0; padding-left: 1.2rem; overflow-wrap: anywhere; }
.loss { border-left: 4px solid var(--warning); padding-left: .6rem; overflow-wrap: anywhere; }
@media (max-width: 40rem) { main { padding: .6rem; } .inside { padding-left: 0; } tbody th { max-width: 7rem; } }
@media print { .scroll { max-height: none; } }
</style>
</head>
<body>
<main>
<h1>What the doctor found</h1>
<p class="dim">{{ hosts | length }} host{{ "s" if hosts | length != 1 }}{{ ", " if generated }}{{ generated }}</p>
<div class="tiles">
{% if missing %}
  <span class="tile error"><b>{{ missing }}</b>not examined</span>
{% endif %}
{% for severity in severities %}
  {% set total = totals[loop.index0] %}
  <span class="tile {{ severity if total else 'ok' }}"><b>{{ total }}</b>{{ names[loop.index0] }}</span>
{% endfor %}
</div>
{% if columns %}
<div class="card scroll">
<table>
<thead><tr><th scope="col">Host</th>
{% for column in columns %}
<th scope="col"><span title="{{ column.title }}">{{ column.id }}</span></th>
{% endfor %}
</tr></thead>
<tbody>
{% for host in hosts %}
{% set number = loop.index %}
<tr><th scope="row"><a href="#host-{{ number }}">{{ host.host }}</a></th>
{% if not host.reached %}
<td class="dim" colspan="{{ columns | length }}">not examined</td>
{% endif %}
{% for column in columns if host.reached %}
<td>
{%- for entry in host.findings if entry.id == column.id -%}
<a class="mark {{ entry.severity }}" href="#host-{{ number }}-{{ entry.id }}" title="{{ entry.summary }}"
  aria-label="{{ entry.severity }}">{{ entry.severity[0] | upper }}</a>
{%- endfor -%}
</td>
{% endfor %}
</tr>
{% endfor %}
</tbody>
</table>
</div>
{% endif %}
{% for host in hosts %}
{% set number = loop.index %}
<section class="card" id="host-{{ number }}">
<h2>{{ host.host }}</h2>
{% if host.reached %}
<p class="dim">{{ headline(host) }}</p>
{% else %}
<p><span class="badge error">NOT EXAMINED</span> The host could not be examined: {{ host.reason }}.</p>
{% endif %}
{% for severity in severities %}
{% for entry in host.findings if entry.severity == severity %}
<details id="host-{{ number }}-{{ entry.id }}">
<summary>
<span class="badge {{ entry.severity }}">{{ entry.severity | upper }}</span>
<code>{{ entry.id }}</code> {{ entry.summary }}
</summary>
<div class="inside">
<ul>
{% for line in entry.evidence %}
<li><code>{{ line }}</code></li>
{% endfor %}
</ul>
{% if entry.loss %}
<p class="loss">{{ entry.loss }}</p>
{% endif %}
{% if entry.remedy %}
<p>As root on the host (one click selects all):</p>
<pre tabindex="0">{{ entry.remedy | join("\n") }}</pre>
{% endif %}
{% if entry.variable %}
<p>With the roles: <code>{{ entry.variable }}</code></p>
{% endif %}
<p class="dim">{{ entry.title }}. {{ entry.reference }}</p>
</div>
</details>
{% endfor %}
{% endfor %}
{% if host.skipped_checks %}
<details>
<summary class="dim">{{ host.skipped_checks | length }} checks were not made</summary>
<div class="inside"><ul>
{% for entry in host.skipped_checks %}
<li><code>{{ entry.id }}</code> {{ entry.reason }}</li>
{% endfor %}
</ul></div>
</details>
{% endif %}
</section>
{% endfor %}
</main>
</body>
</html>
"""
