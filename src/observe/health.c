/* SPDX-License-Identifier: Apache-2.0 */
/* Conditions, and whether the process lives and is ready. */
#include "observe/health.h"

#include "base/clock.h"

#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

struct kveil_loop {
	_Atomic int64_t beat_ms;
	_Atomic bool ended;
	char name[64];
	struct kveil_loop *next;
};

struct condition {
	char name[288], reason[400]; /* a topic's name has up to 249 characters */
	bool is_remark;              /* ready all the same */
	struct condition *next;
};

/* One lock for both lists: probes come once in seconds, conditions change with outages. Beats take none. */
struct kveil_health {
	pthread_mutex_t lock;
	struct kveil_loop *loops;     /* in the order of registration */
	struct condition *conditions; /* in the order of opening */
	bool started, draining;
	bool unknown; /* a condition could not be kept for lack of memory: not ready until draining */
};

struct kveil_health *kveil_health_new(void)
{
	struct kveil_health *h = calloc(1, sizeof *h);

	if (h)
		pthread_mutex_init(&h->lock, NULL);
	return h;
}

void kveil_health_free(struct kveil_health *h)
{
	if (!h)
		return;
	for (struct kveil_loop *l = h->loops, *next; l; l = next) {
		next = l->next;
		free(l);
	}
	for (struct condition *c = h->conditions, *next; c; c = next) {
		next = c->next;
		free(c);
	}
	pthread_mutex_destroy(&h->lock);
	free(h);
}

/* Reasons come from libraries and the network: nothing in them may start a new line. */
static void make_printable(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

struct kveil_loop *kveil_health_loop(struct kveil_health *h, const char *name)
{
	struct kveil_loop **at, *l;

	pthread_mutex_lock(&h->lock);
	for (at = &h->loops; (l = *at); at = &l->next)
		if (l->ended && strcmp(l->name, name) == 0)
			break;
	if (!l && (l = calloc(1, sizeof *l))) {
		snprintf(l->name, sizeof l->name, "%s", name);
		make_printable(l->name);
		*at = l;
	}
	if (l) {
		kveil_loop_beat(l);
		l->ended = false;
	}
	pthread_mutex_unlock(&h->lock);
	return l;
}

void kveil_loop_beat(struct kveil_loop *l)
{
	atomic_store_explicit(&l->beat_ms, kveil_clock_mono_ms(), memory_order_relaxed);
}

void kveil_loop_end(struct kveil_loop *l)
{
	l->ended = true;
}

/* reason NULL: closes it. */
/* true: it was not there before. */
static bool set(struct kveil_health *h, const char *name, bool is_remark, const char *reason, va_list args)
    __attribute__((format(printf, 4, 0)));

static bool set(struct kveil_health *h, const char *name, bool is_remark, const char *reason, va_list args)
{
	struct condition **at, *c;
	bool is_new;

	pthread_mutex_lock(&h->lock);
	for (at = &h->conditions; (c = *at); at = &c->next)
		if (c->is_remark == is_remark && strncmp(c->name, name, sizeof c->name - 1) == 0)
			break;
	is_new = reason && !c;
	if (!reason) {
		if (c) {
			*at = c->next;
			free(c);
		}
	} else {
		if (!c && (c = calloc(1, sizeof *c))) {
			snprintf(c->name, sizeof c->name, "%s", name);
			c->is_remark = is_remark;
			*at = c;
		}
		if (c)
			vsnprintf(c->reason, sizeof c->reason, reason, args);
		else
			h->unknown |= !is_remark;
	}
	pthread_mutex_unlock(&h->lock);
	return is_new;
}

void kveil_health_started(struct kveil_health *h)
{
	pthread_mutex_lock(&h->lock);
	h->started = true;
	pthread_mutex_unlock(&h->lock);
}

void kveil_health_condition(struct kveil_health *h, const char *name, const char *reason, ...)
{
	va_list args;

	va_start(args, reason);
	set(h, name, false, reason, args);
	va_end(args);
}

bool kveil_health_remark(struct kveil_health *h, const char *name, const char *remark, ...)
{
	va_list args;

	va_start(args, remark);
	bool is_new = set(h, name, true, remark, args);
	va_end(args);
	return is_new;
}

void kveil_health_draining(struct kveil_health *h)
{
	pthread_mutex_lock(&h->lock);
	h->draining = true;
	pthread_mutex_unlock(&h->lock);
}

bool kveil_health_live_at(struct kveil_health *h, int64_t now_mono_ms, struct kveil_buf *why)
{
	bool live = true;

	pthread_mutex_lock(&h->lock);
	for (struct kveil_loop *l = h->loops; l; l = l->next) {
		int64_t still_ms = now_mono_ms - atomic_load_explicit(&l->beat_ms, memory_order_relaxed);
		if (l->ended || still_ms <= KVEIL_HEALTH_STALE_MS)
			continue;
		live = false;
		if (why)
			kveil_buf_printf(why, "%s: stuck for %lld s\n", l->name, (long long)(still_ms / 1000));
	}
	pthread_mutex_unlock(&h->lock);
	return live;
}

bool kveil_health_live(struct kveil_health *h, struct kveil_buf *why)
{
	return kveil_health_live_at(h, kveil_clock_mono_ms(), why);
}

bool kveil_health_ready(struct kveil_health *h, struct kveil_buf *why)
{
	pthread_mutex_lock(&h->lock);
	bool ready = h->started && !h->draining && !h->unknown, open = false;
	for (struct condition *c = h->conditions; c; c = c->next)
		open |= !c->is_remark;
	ready &= !open;
	if (why && !h->started && !h->draining && !open)
		kveil_buf_append_str(why, "start: not yet begun\n");
	if (why && h->draining)
		kveil_buf_append_str(why, "draining: shutting down\n");
	if (why && h->unknown)
		kveil_buf_append_str(why, "memory: out of memory\n");
	for (struct condition *c = h->conditions; why && c; c = c->next) {
		char line[sizeof c->name + sizeof c->reason + 4];
		snprintf(line, sizeof line, "%s: %s", c->name, c->reason);
		make_printable(line);
		kveil_buf_printf(why, "%s\n", line);
	}
	pthread_mutex_unlock(&h->lock);
	return ready;
}
