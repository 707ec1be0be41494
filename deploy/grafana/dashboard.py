#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The dashboard of the one on call, as Grafana takes it: is it protecting, how far behind, what fails and why, which keys
and how old, which rules find nothing.

    python3 deploy/grafana/dashboard.py > deploy/grafana/dashboard.json
"""
import json

SOURCE = {"type": "prometheus", "uid": "${source}"}
JOB = 'job=~"$job"'

# Title, width of 24, kind, unit, what it says, and its queries with their legends.
ROWS = [
    ("Is it protecting?", [
        ("Replicas", 4, "stat", "none", "Replicas that answer, and of those the ready ones; /readyz of the others says why not.",
         [(f"sum(up{{{JOB}}})", "up"), (f"sum(kveil_ready{{{JOB}}})", "ready")]),
        ("Protected records a second", 8, "timeseries", "ops", "Acknowledged by the broker, a view each.",
         [(f"sum by (instance) (rate(kveil_records_produced_total{{{JOB}}}[$__rate_interval]))", "{{instance}}")]),
        ("Bytes a second", 6, "timeseries", "Bps", "In and out.",
         [(f"sum(rate(kveil_consumed_bytes_total{{{JOB}}}[$__rate_interval]))", "in"),
          (f"sum(rate(kveil_produced_bytes_total{{{JOB}}}[$__rate_interval]))", "out")]),
        ("Time for a record", 6, "timeseries", "s", "To protect one record in all views (sampled).",
         [(f"histogram_quantile({q}, sum by (le) (rate(kveil_transform_duration_seconds_bucket{{{JOB}}}[$__rate_interval])))",
           f"p{int(q * 100)}") for q in (0.5, 0.99)]),
    ]),
    ("How far behind?", [
        ("Lag", 12, "timeseries", "short", "Records between the committed offset and the end.",
         [(f"sum by (topic) (kveil_consumer_lag_records{{{JOB}}})", "{{topic}}")]),
        ("In flight", 6, "timeseries", "bytes", "Consumed and not yet acknowledged.",
         [(f"sum by (instance) (kveil_in_flight_bytes{{{JOB}}})", "{{instance}}")]),
        ("Rebalances and rewinds", 6, "timeseries", "short", "Members that come and go; partitions that were set back.",
         [(f"sum(increase(kveil_rebalances_total{{{JOB}}}[$__rate_interval]))", "rebalances"),
          (f"sum(increase(kveil_rewinds_total{{{JOB}}}[$__rate_interval]))", "rewinds")]),
    ]),
    ("What fails, and why?", [
        ("Records that could not be protected", 6, "timeseries", "ops", "By error code and by topic; they are sealed dead letters.",
         [(f"sum by (code) (rate(kveil_records_failed_total{{{JOB}}}[$__rate_interval]))", "{{code}}"),
          (f'sum by (topic) (rate(kveil_topic_records_total{{{JOB}, outcome="failed"}}[$__rate_interval]))', "{{topic}}")]),
        ("Dead letters and dropped records", 6, "timeseries", "ops", "Dropped: only where a rule file says on_error: drop.",
         [(f"sum(rate(kveil_records_dead_lettered_total{{{JOB}}}[$__rate_interval]))", "dead letters"),
          (f"sum(rate(kveil_records_dropped_total{{{JOB}}}[$__rate_interval]))", "dropped")]),
        ("Dead letters that wait", 6, "timeseries", "short", "As kveil dead-letters list --metrics counts them.",
         [("sum by (topic) (max by (topic, code, rule) (kveil_dead_letters_waiting))", "{{topic}}")]),
        ("Outside", 6, "timeseries", "ops", "Pauses because something did not answer. /readyz says what.",
         [(f"sum by (code) (rate(kveil_retries_total{{{JOB}}}[$__rate_interval]))", "{{code}}")]),
    ]),
    ("Which keys, and how old?", [
        ("Age of the newest version", 12, "timeseries", "s", "By key.",
         [(f"time() - max by (key) (kveil_key_created_timestamp_seconds{{{JOB}}})", "{{key}}")]),
        ("Keys named from records", 6, "timeseries", "short", "Names, and those that wait for their key.",
         [(f"max by (pattern) (kveil_named_keys{{{JOB}}})", "{{pattern}}"),
          (f"sum by (pattern) (kveil_named_keys_waiting{{{JOB}}})", "{{pattern}} waiting")]),
        ("Registry records ignored", 6, "timeseries", "short", "Not authentic or not readable: someone writes there who should not.",
         [(f"sum by (reason) (increase(kveil_registry_records_ignored_total{{{JOB}}}[$__rate_interval]))", "{{reason}}")]),
    ]),
    ("Which rules?", [
        ("Places that rules found", 12, "timeseries", "ops", "A rule that falls to 0 protects a field that was renamed.",
         [(f"sum by (rule) (rate(kveil_rule_matches_total{{{JOB}}}[$__rate_interval]))", "{{rule}}")]),
        ("Last reload taken", 4, "stat", "bool_yes_no", "No: new rules were refused, the old ones go on.",
         [(f"min(kveil_config_last_reload_successful{{{JOB}}})", "")]),
        ("Losses", 4, "stat", "none", "What the rules in use protect less than those accepted last. /readyz and the log name them.",
         [(f"max(kveil_rules_losses{{{JOB}}})", "")]),
        ("Versions", 4, "stat", "none", "Replicas by version.",
         [(f"count by (version) (kveil_build_info{{{JOB}}})", "{{version}}")]),
    ]),
]


def panel(number, x, y, title, width, kind, unit, help_text, queries):
    return {
        "id": number, "type": kind, "title": title, "description": help_text, "datasource": SOURCE,
        "gridPos": {"x": x, "y": y, "w": width, "h": 7},
        "fieldConfig": {"defaults": {"unit": unit, "min": 0}, "overrides": []},
        "targets": [{"refId": chr(65 + i), "datasource": SOURCE, "expr": expr, "legendFormat": legend}
                    for i, (expr, legend) in enumerate(queries)],
    }


def variable(name, kind, query, **more):
    return {"name": name, "type": kind, "query": query, "refresh": 2, **more}


def dashboard():
    panels, y = [], 0
    for title, row in ROWS:
        panels.append({"id": len(panels) + 1, "type": "row", "title": title, "collapsed": False,
                       "gridPos": {"x": 0, "y": y, "w": 24, "h": 1}, "panels": []})
        x = 0
        for each in row:
            panels.append(panel(len(panels) + 1, x, y + 1, *each))
            x += each[1]
        y += 8
    return {
        "uid": "kveil", "title": "kveil", "tags": ["kveil"], "schemaVersion": 39, "version": 1, "editable": True,
        "time": {"from": "now-1h", "to": "now"}, "refresh": "30s",
        "templating": {"list": [
            variable("source", "datasource", "prometheus"),
            variable("job", "query", "label_values(kveil_build_info, job)", datasource=SOURCE, multi=True,
                     includeAll=True, current={"text": "All", "value": "$__all"}),
        ]},
        "panels": panels,
    }


if __name__ == "__main__":
    print(json.dumps(dashboard(), indent=1))
