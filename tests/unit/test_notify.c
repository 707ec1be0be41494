/* SPDX-License-Identifier: Apache-2.0 */
#include "worker/notify.h"

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

static char folder[] = "/tmp/kveil-notify-XXXXXX";

/* A service manager: a datagram socket of this name, and NOTIFY_SOCKET set to it. */
static int manager(const char *name)
{
	struct sockaddr_un at = {.sun_family = AF_UNIX};
	size_t len = strlen(name);
	int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);

	memcpy(at.sun_path, name, len);
	if (name[0] == '@')
		at.sun_path[0] = 0;
	assert_int_equal(bind(fd, (struct sockaddr *)&at,
			      (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len + (name[0] == '/'))),
			 0);
	setenv("NOTIFY_SOCKET", name, 1);
	return fd;
}

static void assert_next(int fd, const char *want)
{
	char got[4096];
	ssize_t n = recv(fd, got, sizeof got - 1, 0);

	if (n < 0) {
		assert_int_equal(errno, EAGAIN);
		n = 0;
	}
	got[n] = 0;
	assert_string_equal(got, want);
}

static struct kveil_health *begun(void)
{
	struct kveil_health *h = kveil_health_new();

	kveil_health_started(h);
	return h;
}

static void tells_readiness_status_and_the_end(void **state)
{
	char name[64];
	struct kveil_notify n;
	struct kveil_health *health = begun();

	(void)state;
	snprintf(name, sizeof name, "%s/socket", folder);
	int fd = manager(name);
	kveil_notify_init(&n);
	kveil_notify_ready(&n);
	assert_next(fd, "READY=1");
	kveil_health_condition(health, "keys", "not open yet");
	kveil_notify_turn(&n, health, 1000);
	assert_next(fd, "STATUS=keys: not open yet");
	kveil_notify_turn(&n, health, 2000); /* said once, and nobody set a watchdog */
	assert_next(fd, "");
	kveil_health_condition(health, "keys", NULL);
	kveil_notify_turn(&n, health, 3000);
	assert_next(fd, "STATUS=ready");
	kveil_notify_stopping(&n);
	assert_next(fd, "STOPPING=1\nSTATUS=draining");
	kveil_notify_clear(&n);
	kveil_health_free(health);
	close(fd);
	unlink(name);
}

static void a_loop_that_stands_still_is_no_sign_of_life(void **state)
{
	char name[64], pid[32];
	struct kveil_notify n;
	struct kveil_health *health = begun();

	(void)state;
	snprintf(name, sizeof name, "@kveil-test-notify-%d", getpid());
	snprintf(pid, sizeof pid, "%d", getpid());
	int fd = manager(name);
	setenv("WATCHDOG_USEC", "60000000", 1);
	setenv("WATCHDOG_PID", pid, 1);
	kveil_notify_init(&n);
	kveil_notify_turn(&n, health, 100000);
	assert_next(fd, "WATCHDOG=1");
	assert_next(fd, "STATUS=ready");
	kveil_notify_turn(&n, health, 129999);
	assert_next(fd, "");
	kveil_notify_turn(&n, health, 130000);
	assert_next(fd, "WATCHDOG=1");
	kveil_notify_clear(&n);

	setenv("WATCHDOG_PID", "1", 1); /* meant for another process */
	kveil_notify_init(&n);
	kveil_notify_turn(&n, health, 100000);
	assert_next(fd, "STATUS=ready");
	assert_next(fd, "");
	kveil_notify_clear(&n);
	unsetenv("WATCHDOG_USEC");
	unsetenv("WATCHDOG_PID");
	kveil_health_free(health);
	close(fd);
}

/* The kernel keeps a few datagrams for a reader that is busy. */
static void what_found_no_room_is_sent_again(void **state)
{
	char name[64];
	struct kveil_notify n;
	struct kveil_health *health = begun();

	(void)state;
	snprintf(name, sizeof name, "@kveil-test-full-%d", getpid());
	int fd = manager(name);
	kveil_notify_init(&n);
	for (int i = 0; i < 2000; i++)
		kveil_notify_ready(&n);
	kveil_notify_turn(&n, health, 1000);
	char last[64] = "";
	for (ssize_t got; (got = recv(fd, last, sizeof last - 1, 0)) > 0;)
		last[got] = 0;
	assert_string_equal(last, "READY=1");
	kveil_notify_turn(&n, health, 2000);
	assert_next(fd, "STATUS=ready");
	kveil_notify_clear(&n);
	kveil_health_free(health);
	close(fd);
}

static void without_a_manager_nothing_happens(void **state)
{
	static const char *const bad[] = {"", "relative", "/", "@", "/no/such/socket"};
	struct kveil_health *health = begun();
	struct kveil_notify n;

	(void)state;
	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		setenv("NOTIFY_SOCKET", bad[i], 1);
		kveil_notify_init(&n);
		kveil_notify_ready(&n);
		kveil_notify_turn(&n, health, 1);
		kveil_notify_clear(&n);
	}
	char *longer = calloc(1, 200);
	memset(longer, '/', 199);
	setenv("NOTIFY_SOCKET", longer, 1);
	kveil_notify_init(&n);
	assert_int_equal(n.fd, -1);
	free(longer);
	unsetenv("NOTIFY_SOCKET");
	kveil_notify_init(&n);
	assert_int_equal(n.fd, -1);
	kveil_health_free(health);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test(tells_readiness_status_and_the_end),
	    cmocka_unit_test(a_loop_that_stands_still_is_no_sign_of_life),
	    cmocka_unit_test(what_found_no_room_is_sent_again),
	    cmocka_unit_test(without_a_manager_nothing_happens),
	};

	if (!mkdtemp(folder))
		return 1;
	int failed = cmocka_run_group_tests(tests, NULL, NULL);
	rmdir(folder);
	return failed;
}
