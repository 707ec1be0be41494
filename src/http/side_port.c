/* SPDX-License-Identifier: Apache-2.0 */
/* The pages of the side port. */
#include "http/side_port.h"

#include "base/clock.h"

#include "observe/process.h"

#include <jansson.h>
#include <stdlib.h>

struct kveil_side_port {
	struct kveil_http *http;
	struct kveil_health *health;
	struct kveil_metrics *metrics;
	struct kveil_cell *ready;
	int64_t started_mono_ms;
};

static unsigned answer_live(void *user, struct kveil_buf *out)
{
	struct kveil_side_port *p = user;

	if (!kveil_health_live(p->health, out))
		return 503;
	kveil_buf_append_str(out, "ok\n");
	return 200;
}

static unsigned answer_ready(void *user, struct kveil_buf *out)
{
	struct kveil_side_port *p = user;

	if (!kveil_health_ready(p->health, out))
		return 503;
	kveil_buf_append_str(out, "ok\n");
	return 200;
}

/* Asked anew for each page, as /readyz is. */
static bool show_ready(struct kveil_side_port *p, struct kveil_buf *why)
{
	bool ready = kveil_health_ready(p->health, why);

	kveil_cell_set(p->ready, ready);
	return ready;
}

static unsigned answer_metrics(void *user, struct kveil_buf *out)
{
	struct kveil_side_port *p = user;

	show_ready(p, NULL);
	kveil_metrics_render(p->metrics, out);
	kveil_process_render(out);
	return 200;
}

/* One JSON string a line of reasons. */
static json_t *lines_as_json(struct kveil_buf *lines)
{
	json_t *array = json_array();

	for (const char *line = kveil_buf_cstr(lines); line && *line; line += strcspn(line, "\n") + 1) {
		json_t *text = json_stringn(line, strcspn(line, "\n"));
		json_array_append_new(array, text ? text : json_string("a reason that is not UTF-8"));
	}
	return array;
}

static unsigned answer_stats(void *user, struct kveil_buf *out)
{
	struct kveil_side_port *p = user;
	KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;
	bool live = kveil_health_live(p->health, &why);
	bool ready = show_ready(p, &why);
	json_t *reasons = lines_as_json(&why);
	char *text = json_dumps(reasons, 0);

	kveil_buf_printf(
	    out,
	    "{\"version\": \"%s\", \"uptime_seconds\": %lld, \"live\": %s, \"ready\": %s, \"reasons\": %s, "
	    "\"metrics\": ",
	    KVEIL_VERSION, (long long)((kveil_clock_mono_ms() - p->started_mono_ms) / 1000), live ? "true" : "false",
	    ready ? "true" : "false", text ? text : "[]");
	kveil_metrics_render_json(p->metrics, out);
	kveil_buf_append_str(out, "}\n");
	free(text);
	json_decref(reasons);
	return 200;
}

static unsigned answer_index(void *user, struct kveil_buf *out);

#define TEXT "text/plain; charset=utf-8"

static const struct kveil_http_route routes[] = {
    {"/livez", TEXT, true, answer_live, "503 when a worker has been stuck for 30 s"},
    {"/readyz", TEXT, true, answer_ready, "503 with reasons when not ready, and while draining"},
    {"/healthz", TEXT, true, answer_live, "the same as /livez"},
    {"/metrics", "text/plain; version=0.0.4; charset=utf-8", true, answer_metrics, "for Prometheus"},
    {"/stats", "application/json", false, answer_stats, "the same numbers as JSON (loopback only)"},
    {"/", TEXT, false, answer_index, "this list (loopback only)"},
    {0},
};

static unsigned answer_index(void *user, struct kveil_buf *out)
{
	(void)user;
	kveil_buf_append_str(out, "kveil " KVEIL_VERSION "\n\n");
	for (const struct kveil_http_route *r = routes; r->path; r++)
		kveil_buf_printf(out, "%-10s %s\n", r->path, r->help);
	return 200;
}

enum kveil_status kveil_side_port_start(const struct kveil_http_places *places, struct kveil_health *health,
					struct kveil_metrics *metrics, struct kveil_side_port **ret,
					struct kveil_error *err)
{
	struct kveil_side_port *p = calloc(1, sizeof *p);

	if (!p)
		return kveil_no_memory(err, NULL);
	*p = (struct kveil_side_port){.health = health, .metrics = metrics, .started_mono_ms = kveil_clock_mono_ms()};
	p->ready = kveil_metrics_cell(metrics, KVEIL_M_READY, NULL, NULL);
	enum kveil_status status = kveil_http_start(places, routes, p, &p->http, err);
	if (status != KVEIL_OK) {
		kveil_metrics_release(metrics, p->ready);
		free(p);
	} else
		*ret = p;
	return status;
}

void kveil_side_port_stop(struct kveil_side_port *p)
{
	if (!p)
		return;
	kveil_http_stop(p->http);
	kveil_metrics_release(p->metrics, p->ready);
	free(p);
}

const char *kveil_side_port_address(const struct kveil_side_port *p)
{
	return kveil_http_address(p->http);
}
