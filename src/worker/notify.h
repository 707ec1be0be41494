/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/notify.h: tells a service manager how the process is, by systemd's notification protocol: datagrams of
 * NAME=VALUE lines to the unix socket that NOTIFY_SOCKET names (sd_notify(3)). Without that variable all of it is
 * nothing. One thread.
 *
 *   READY=1     configuration and rules hold; the rest (brokers, keys) is waited for, and STATUS= says for what
 *   WATCHDOG=1  while /livez answers 200, at least twice within WATCHDOG_USEC
 *   STOPPING=1  the drain has begun
 */
#ifndef KVEIL_WORKER_NOTIFY_H
#define KVEIL_WORKER_NOTIFY_H

#include "base/buf.h"
#include "observe/health.h"

#include <sys/socket.h>
#include <sys/un.h>

struct kveil_notify {
	int fd; /* -1: nobody asked */
	struct sockaddr_un address;
	socklen_t address_len;
	int64_t watchdog_ms; /* half of what the manager allows; 0: it does not watch */
	int64_t due_ms;      /* monotonic */
	struct kveil_buf status, next_status;
};

/* Reads NOTIFY_SOCKET, WATCHDOG_USEC and WATCHDOG_PID. A socket that cannot be used is not a socket. */
void kveil_notify_init(struct kveil_notify *n);
void kveil_notify_clear(struct kveil_notify *n);

void kveil_notify_ready(struct kveil_notify *n);
void kveil_notify_stopping(struct kveil_notify *n);
/* Once a turn of the main loop: the watchdog's sign of life where it is due, and the reasons of /readyz where they
 * changed. */
void kveil_notify_turn(struct kveil_notify *n, struct kveil_health *health, int64_t now_mono_ms);

#endif
