/* SPDX-License-Identifier: Apache-2.0 */
/* Readiness, status and sign of life for a service manager. */
#include "worker/notify.h"

#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { US_PER_MS = 1000 };

/* "/run/x" or "@abstract". */
static bool set_address(struct kveil_notify *n, const char *name)
{
	size_t len = strlen(name);

	if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof n->address.sun_path)
		return false;
	n->address.sun_family = AF_UNIX;
	memcpy(n->address.sun_path, name, len);
	if (name[0] == '@')
		n->address.sun_path[0] = 0;
	n->address_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'));
	return true;
}

static int64_t watchdog_ms(void)
{
	const char *us = getenv("WATCHDOG_USEC"), *pid = getenv("WATCHDOG_PID");

	if (!us || (pid && strtoll(pid, NULL, 10) != getpid()))
		return 0;
	long long value = strtoll(us, NULL, 10);
	return value > 0 ? value / US_PER_MS / 2 : 0;
}

void kveil_notify_init(struct kveil_notify *n)
{
	const char *name = getenv("NOTIFY_SOCKET");

	*n = (struct kveil_notify){.fd = -1, .status = KVEIL_BUF_INIT, .next_status = KVEIL_BUF_INIT};
	if (!name || !set_address(n, name))
		return;
	n->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
	n->watchdog_ms = watchdog_ms();
}

void kveil_notify_clear(struct kveil_notify *n)
{
	if (n->fd >= 0)
		close(n->fd);
	n->fd = -1;
	kveil_buf_clear(&n->status);
	kveil_buf_clear(&n->next_status);
}

/* Nothing here may wait for a manager that does not read: what its queue has no room for is not sent. */
static bool send_text(struct kveil_notify *n, const char *text)
{
	return n->fd >= 0 && sendto(n->fd, text, strlen(text), MSG_NOSIGNAL, (const struct sockaddr *)&n->address,
				    n->address_len) >= 0;
}

void kveil_notify_ready(struct kveil_notify *n)
{
	send_text(n, "READY=1");
}

void kveil_notify_stopping(struct kveil_notify *n)
{
	send_text(n, "STOPPING=1\nSTATUS=draining");
}

/* "STATUS=" and the first reason of /readyz. */
static void write_status(struct kveil_buf *out, struct kveil_health *health)
{
	KVEIL_CLEANUP_BUF struct kveil_buf why = KVEIL_BUF_INIT;
	const char *text = kveil_health_ready(health, &why) ? "ready" : kveil_buf_cstr(&why);

	kveil_buf_reset(out);
	kveil_buf_printf(out, "STATUS=%.*s", (int)(text ? strcspn(text, "\n") : 0), text ? text : "");
}

void kveil_notify_turn(struct kveil_notify *n, struct kveil_health *health, int64_t now_mono_ms)
{
	if (n->fd < 0)
		return;
	if (n->watchdog_ms && now_mono_ms >= n->due_ms && kveil_health_live(health, NULL) && send_text(n, "WATCHDOG=1"))
		n->due_ms = now_mono_ms + n->watchdog_ms;
	write_status(&n->next_status, health);
	const char *next = kveil_buf_cstr(&n->next_status), *last = kveil_buf_cstr(&n->status);
	if (!next || !last || strcmp(next, last) == 0 || !send_text(n, next))
		return;
	struct kveil_buf old = n->status;
	n->status = n->next_status;
	n->next_status = old;
}
