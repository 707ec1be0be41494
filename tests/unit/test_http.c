/* SPDX-License-Identifier: Apache-2.0 */
#include "base/address.h"
#include "base/unix_socket.h"
#include "http/http_client.h"
#include "http/side_port.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

struct fixture {
	struct kveil_health *health;
	struct kveil_metrics *metrics;
	struct kveil_side_port *port;
	struct kveil_buf body;
	char dir[40], socket[60]; /* where there is a unix socket */
};

static enum kveil_status start_on(struct fixture *f, const char *listen_on, struct kveil_side_port **ret,
				  struct kveil_error *err)
{
	const struct kveil_http_places places = {.listen = listen_on};

	return kveil_side_port_start(&places, f->health, f->metrics, ret, err);
}

static enum kveil_status start_at(struct fixture *f, const char *socket_path, struct kveil_side_port **ret,
				  struct kveil_error *err)
{
	const struct kveil_http_places places = {.socket = socket_path, .socket_mode = 0600};

	return kveil_side_port_start(&places, f->health, f->metrics, ret, err);
}

static int set_up_on(void **state, const char *listen_on)
{
	struct fixture *f = calloc(1, sizeof *f);
	struct kveil_error err;

	f->health = kveil_health_new();
	kveil_health_started(f->health);
	f->metrics = kveil_metrics_new();
	if (start_on(f, listen_on, &f->port, &err) != KVEIL_OK) {
		print_error("%s\n", err.message);
		return -1;
	}
	*state = f;
	return 0;
}

static int set_up(void **state)
{
	return set_up_on(state, "127.0.0.1:0");
}

static int set_up_everywhere(void **state)
{
	return set_up_on(state, ":0");
}

static int set_up_both(void **state)
{
	struct fixture *f;
	struct kveil_error err;

	if (set_up(state))
		return -1;
	f = *state;
	kveil_side_port_stop(f->port);
	strcpy(f->dir, "/tmp/kveil-socket-XXXXXX");
	if (!mkdtemp(f->dir))
		return -1;
	snprintf(f->socket, sizeof f->socket, "%s/side.sock", f->dir);
	const struct kveil_http_places places = {.listen = "127.0.0.1:0", .socket = f->socket, .socket_mode = 0660};
	return kveil_side_port_start(&places, f->health, f->metrics, &f->port, &err) ? -1 : 0;
}

static int tear_down(void **state)
{
	struct fixture *f = *state;

	kveil_side_port_stop(f->port);
	if (*f->dir) {
		unlink(f->socket);
		rmdir(f->dir);
	}
	kveil_health_free(f->health);
	kveil_metrics_free(f->metrics);
	kveil_buf_clear(&f->body);
	free(f);
	return 0;
}

static unsigned get(struct fixture *f, const char *path)
{
	struct kveil_error err;
	unsigned status = 0;

	kveil_buf_reset(&f->body);
	if (kveil_http_get(kveil_side_port_address(f->port), path, 2000, &status, &f->body, &err) != KVEIL_OK)
		fail_msg("%s", err.message);
	kveil_buf_cstr(&f->body);
	return status;
}

static unsigned get_from_socket(struct fixture *f, const char *path)
{
	struct kveil_error err;
	unsigned status = 0;
	char url[80];

	snprintf(url, sizeof url, "unix:%s", f->socket);
	kveil_buf_reset(&f->body);
	/* More than a busy machine takes. */
	if (kveil_http_get(url, path, 8000, &status, &f->body, &err) != KVEIL_OK)
		fail_msg("%s", err.message);
	kveil_buf_cstr(&f->body);
	return status;
}

static int connect_raw(struct fixture *f)
{
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	struct timeval patience = {.tv_sec = 8};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_port = htons((uint16_t)atoi(strrchr(kveil_side_port_address(f->port), ':') + 1));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

/* Sends bytes as they are; the whole answer in f->body. */
static const char *raw(struct fixture *f, const char *request, size_t len)
{
	int fd = connect_raw(f);
	ssize_t n;
	uint8_t *room;

	assert_int_equal(send(fd, request, len, MSG_NOSIGNAL), len);
	kveil_buf_reset(&f->body);
	while ((room = kveil_buf_reserve(&f->body, 4096)) && (n = recv(fd, room, 4096, 0)) > 0)
		f->body.len += (size_t)n;
	close(fd);
	return kveil_buf_cstr(&f->body);
}

static void assert_answers(struct fixture *f, const char *request, const char *begins)
{
	const char *answer = raw(f, request, strlen(request));

	if (strncmp(answer, begins, strlen(begins)) != 0)
		fail_msg("'%s' was answered '%s'", request, answer);
}

static void test_probes(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, "/livez"), 200);
	assert_string_equal((char *)f->body.data, "ok\n");
	assert_int_equal(get(f, "/healthz"), 200);
	assert_int_equal(get(f, "/readyz"), 200);
	kveil_health_condition(f->health, "worker 1: kafka", "no broker answers");
	kveil_health_condition(f->health, "keys", "no lease");
	assert_int_equal(get(f, "/readyz"), 503);
	assert_string_equal((char *)f->body.data, "worker 1: kafka: no broker answers\nkeys: no lease\n");
	assert_int_equal(get(f, "/livez"), 200);
	kveil_health_condition(f->health, "worker 1: kafka", NULL);
	kveil_health_condition(f->health, "keys", NULL);
	assert_int_equal(get(f, "/readyz"), 200);
	kveil_health_draining(f->health);
	assert_int_equal(get(f, "/readyz"), 503);
	assert_string_equal((char *)f->body.data, "draining: shutting down\n");
	assert_int_equal(get(f, "/livez"), 200);
}

static void test_metrics_page(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, "/metrics"), 200);
	assert_non_null(strstr((char *)f->body.data, "\nkveil_records_consumed_total 0\n"));
	assert_answers(f, "HEAD /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 200");
	assert_non_null(strstr((char *)f->body.data, "Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"));
	assert_non_null(strstr((char *)f->body.data, "Cache-Control: no-store\r\n"));
	assert_string_equal(strstr((char *)f->body.data, "\r\n\r\n"), "\r\n\r\n");
}

static void test_metrics_say_what_readyz_says(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, "/metrics"), 200);
	assert_non_null(strstr((char *)f->body.data, "\nkveil_ready 1\n"));
	kveil_health_remark(f->health, "rules", "to be seen, and ready all the same");
	assert_int_equal(get(f, "/metrics"), 200);
	assert_non_null(strstr((char *)f->body.data, "\nkveil_ready 1\n"));
	kveil_health_condition(f->health, "keys", "no lease");
	assert_int_equal(get(f, "/metrics"), 200);
	assert_non_null(strstr((char *)f->body.data, "\nkveil_ready 0\n"));
	assert_int_equal(get(f, "/stats"), 200);
	assert_non_null(strstr((char *)f->body.data, "\"kveil_ready\": 0,"));
	kveil_health_condition(f->health, "keys", NULL);
	assert_int_equal(get(f, "/metrics"), 200);
	assert_non_null(strstr((char *)f->body.data, "\nkveil_ready 1\n"));
	kveil_health_draining(f->health);
	assert_int_equal(get(f, "/metrics"), 200);
	assert_non_null(strstr((char *)f->body.data, "\nkveil_ready 0\n"));
}

static void test_stats_and_index(void **state)
{
	struct fixture *f = *state;

	kveil_health_condition(f->health, "keys", "say \"why\"");
	assert_int_equal(get(f, "/stats"), 200);
	json_t *root = json_loadb((const char *)f->body.data, f->body.len, 0, NULL);
	assert_non_null(root);
	assert_true(json_is_false(json_object_get(root, "ready")));
	assert_true(json_is_true(json_object_get(root, "live")));
	assert_string_equal(json_string_value(json_array_get(json_object_get(root, "reasons"), 0)),
			    "keys: say \"why\"");
	assert_int_equal(
	    json_integer_value(json_object_get(json_object_get(root, "metrics"), "kveil_records_consumed_total")), 0);
	json_decref(root);
	assert_int_equal(get(f, "/"), 200);
	assert_non_null(strstr((char *)f->body.data, "/readyz "));
	assert_int_equal(get(f, "/nothing"), 404);
	assert_int_equal(get(f, "/livez/"), 404);
	assert_int_equal(get(f, "/livez%00"), 404);
	assert_int_equal(get(f, "/livez%00x"), 404);
	assert_int_equal(get(f, "/%6civez"), 404);
	assert_int_equal(get(f, "/metrics?name=x"), 200);
}

static void test_refusals(void **state)
{
	struct fixture *f = *state;

	assert_answers(f, "POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 405");
	assert_non_null(strstr((char *)f->body.data, "Allow: GET, HEAD\r\n"));
	assert_answers(f, "DELETE /metrics HTTP/1.0\r\n\r\n", "HTTP/1.1 405");
	assert_answers(f, "GET /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nabc", "HTTP/1.1 413");
	assert_answers(f, "GET /livez HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 413");
	assert_answers(f, "GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 0\r\n\r\n",
		       "HTTP/1.1 200");
	KVEIL_CLEANUP_BUF struct kveil_buf big = KVEIL_BUF_INIT;
	kveil_buf_append_str(&big, "GET /livez HTTP/1.0\r\nX: ");
	for (int i = 0; i < 40000; i++)
		kveil_buf_append_byte(&big, 'x');
	kveil_buf_append_str(&big, "\r\n\r\n");
	const char *answer = raw(f, (const char *)big.data, big.len);
	assert_true(*answer == 0 || strncmp(answer, "HTTP/1.1 4", 10) == 0);
	raw(f, "\0\1\2\3\r\n\r\n", 8);
	assert_int_equal(get(f, "/livez"), 200);
}

static void test_a_foreign_host_name_sees_no_private_page(void **state)
{
	struct fixture *f = *state;

	assert_answers(f, "GET /stats HTTP/1.1\r\nConnection: close\r\nHost: evil.example:80\r\n\r\n", "HTTP/1.1 403");
	assert_answers(f, "GET /stats HTTP/1.1\r\nConnection: close\r\nHost: 127.evil.example\r\n\r\n", "HTTP/1.1 403");
	assert_answers(f, "GET /stats HTTP/1.1\r\nConnection: close\r\nHost: \r\n\r\n", "HTTP/1.1 403");
	assert_answers(f, "GET /stats HTTP/1.1\r\nConnection: close\r\nHost: [::1\r\n\r\n", "HTTP/1.1 403");
	assert_answers(f, "GET /stats HTTP/1.1\r\nConnection: close\r\nHost: localhost:1\r\n\r\n", "HTTP/1.1 200");
	assert_answers(f, "GET /stats HTTP/1.1\r\nConnection: close\r\nHost: [::1]:1\r\n\r\n", "HTTP/1.1 200");
	assert_answers(f, "GET /metrics HTTP/1.1\r\nConnection: close\r\nHost: pod.example\r\n\r\n", "HTTP/1.1 200");
}

static void test_bound_to_every_address_private_pages_are_shut(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, "/livez"), 200);
	assert_int_equal(get(f, "/readyz"), 200);
	assert_int_equal(get(f, "/healthz"), 200);
	assert_int_equal(get(f, "/metrics"), 200);
	assert_int_equal(get(f, "/stats"), 403);
	assert_int_equal(get(f, "/"), 403);
	/* IPv4 reaches it too, and as a loopback peer is refused all the same. */
	assert_answers(f, "GET /stats HTTP/1.0\r\n\r\n", "HTTP/1.1 403");
	assert_answers(f, "GET /livez HTTP/1.0\r\n\r\n", "HTTP/1.1 200");
}

/* Idle connections are bounded in number and time: a probe gets through again. */
static void test_idle_connections_do_not_shut_it(void **state)
{
	struct fixture *f = *state;
	int fds[100];
	unsigned status = 0;
	struct kveil_error err;

	for (int i = 0; i < 100; i++) {
		fds[i] = connect_raw(f);
		send(fds[i], "GET ", 4, MSG_NOSIGNAL); /* the later ones are shut at once */
	}
	for (int i = 0; i < 10 && status != 200; i++)
		if (kveil_http_get(kveil_side_port_address(f->port), "/livez", 2000, &status, &f->body, &err))
			sleep(1);
	assert_int_equal(status, 200);
	for (int i = 0; i < 100; i++)
		close(fds[i]);
}

static int connect_from(struct fixture *f, unsigned host)
{
	struct sockaddr_in from = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK + host)};
	struct sockaddr_in to = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	to.sin_port = htons((uint16_t)atoi(strrchr(kveil_side_port_address(f->port), ':') + 1));
	assert_int_equal(bind(fd, (struct sockaddr *)&from, sizeof from), 0);
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

/* A byte now and then is not idle: such requests end all the same, and probes get in meanwhile. */
static void test_trickling_requests_do_not_shut_it(void **state)
{
	struct fixture *f = *state;
	enum { FDS = 128 };
	static const char request[] = "GET /livez HTTP/1.1\r\nX-Slow: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
	int fds[FDS];
	char byte;

	for (int i = 0; i < FDS; i++)
		fds[i] = connect_from(f, 1 + (unsigned)i / 32);
	for (int second = 0; second < 6; second++) {
		for (int i = 0; i < FDS; i++)
			send(fds[i], &request[second], 1, MSG_NOSIGNAL);
		assert_int_equal(get(f, "/livez"), 200);
		sleep(1);
	}
	for (int i = 0; i < FDS; i++) {
		assert_true(recv(fds[i], &byte, 1, MSG_DONTWAIT) == 0 || errno == ECONNRESET || errno == EPIPE);
		close(fds[i]);
	}
}

static int connect_to_socket(struct fixture *f)
{
	struct sockaddr_un to;
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);

	assert_true(kveil_unix_socket_address(f->socket, &to));
	assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
	return fd;
}

static void test_the_unix_socket_answers_everything(void **state)
{
	struct fixture *f = *state;
	struct stat st;

	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0660);
	assert_int_equal(get_from_socket(f, "/livez"), 200);
	assert_int_equal(get_from_socket(f, "/stats"), 200);
	assert_int_equal(get_from_socket(f, "/nothing"), 404);
	kveil_health_draining(f->health);
	assert_int_equal(get_from_socket(f, "/readyz"), 503);
	assert_string_equal((char *)f->body.data, "draining: shutting down\n");
	assert_int_equal(get(f, "/livez"), 200);
	kveil_side_port_stop(f->port);
	f->port = NULL;
	assert_int_equal(stat(f->socket, &st), -1);
}

/* 128 connections of four peers, a byte of each now and then, cost the unix socket nothing; nor do its own. */
static void test_probes_by_the_unix_socket_never_wait(void **state)
{
	struct fixture *f = *state;
	enum { FDS = 128, LOCAL = 40 };
	int fds[FDS], local[LOCAL];

	for (int i = 0; i < FDS; i++)
		fds[i] = connect_from(f, 1 + (unsigned)i / 32);
	for (int i = 0; i < LOCAL; i++) {
		local[i] = connect_to_socket(f);
		send(local[i], "G", 1, MSG_NOSIGNAL);
	}
	for (int turn = 0; turn < 20; turn++) {
		for (int i = 0; i < FDS; i++)
			send(fds[i], &"GET /livez HTTP/1.1\r\n"[turn], 1, MSG_NOSIGNAL);
		assert_int_equal(get_from_socket(f, "/livez"), 200);
		usleep(50000);
	}
	for (int i = 0; i < FDS; i++)
		close(fds[i]);
	for (int i = 0; i < LOCAL; i++)
		close(local[i]);
}

static void test_only_a_socket_that_nobody_serves_is_replaced(void **state)
{
	struct fixture *f = *state;
	struct kveil_side_port *other = NULL;
	struct kveil_error err;
	struct sockaddr_un address;
	struct stat st;

	assert_int_equal(start_at(f, f->socket, &other, &err), KVEIL_E_CONFIG);
	assert_non_null(strstr(err.message, f->socket));
	assert_int_equal(get_from_socket(f, "/livez"), 200);
	kveil_side_port_stop(f->port);
	f->port = NULL;
	/* A file that is not a socket stays. */
	close(creat(f->socket, 0600));
	assert_int_equal(start_at(f, f->socket, &other, &err), KVEIL_E_CONFIG);
	assert_int_equal(stat(f->socket, &st), 0);
	unlink(f->socket);
	/* What a process left behind that was killed. */
	int fd = socket(AF_UNIX, SOCK_STREAM, 0);
	assert_true(kveil_unix_socket_address(f->socket, &address));
	assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof address), 0);
	close(fd);
	assert_int_equal(start_at(f, f->socket, &f->port, &err), KVEIL_OK);
	assert_int_equal(get_from_socket(f, "/livez"), 200);
	assert_int_equal(stat(f->socket, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0600);
	/* Not ours any more: not ours to remove. */
	unlink(f->socket);
	close(creat(f->socket, 0600));
	kveil_side_port_stop(f->port);
	f->port = NULL;
	assert_int_equal(stat(f->socket, &st), 0);
}

static void test_socket_paths_that_cannot_be(void **state)
{
	struct fixture *f = *state;
	struct kveil_side_port *other = NULL;
	struct kveil_error err;
	char longer[200];

	memset(longer, 'x', sizeof longer);
	longer[108] = 0;
	assert_int_equal(start_at(f, "", &other, &err), KVEIL_E_CONFIG);
	assert_int_equal(start_at(f, longer, &other, &err), KVEIL_E_CONFIG);
	assert_int_equal(start_at(f, "/no/such/folder/s", &other, &err), KVEIL_E_CONFIG);
	assert_non_null(strstr(err.message, "/no/such/folder/s"));
}

static void test_listen_errors(void **state)
{
	struct fixture *f = *state;
	static const char *const bad[] = {
	    "",       "127.0.0.1",    "127.0.0.1:",  "127.0.0.1:70000",        "127.0.0.1:x",
	    "::1:80", "127.0.0.1:-1", "192.0.2.1:0", "no.such.host.invalid:1", "127.0.0.1:123456"};
	struct kveil_side_port *other = NULL;
	struct kveil_error err;

	for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
		assert_int_equal(start_on(f, bad[i], &other, &err), KVEIL_E_CONFIG);
		assert_non_null(strstr(err.message, bad[i]));
	}
	const char *taken = kveil_side_port_address(f->port);
	assert_int_equal(start_on(f, taken, &other, &err), KVEIL_E_CONFIG);
	assert_non_null(strstr(err.message, taken));
	assert_non_null(strstr(err.hint, "another program"));
	assert_null(other);
	/* Free again at once after a stop. */
	char address[80];
	snprintf(address, sizeof address, "%s", taken);
	kveil_side_port_stop(f->port);
	assert_int_equal(start_on(f, address, &f->port, &err), KVEIL_OK);
	assert_string_equal(kveil_side_port_address(f->port), address);
}

static void test_address_parse(void **state)
{
	struct kveil_address a;

	(void)state;
	assert_true(kveil_address_parse("[::1]:9819", &a));
	assert_string_equal(a.host, "::1");
	assert_string_equal(a.port, "9819");
	assert_true(kveil_address_parse(":0", &a));
	assert_string_equal(a.host, "");
	assert_false(kveil_address_parse("[::1]", &a));
	assert_false(kveil_address_parse("h:1 ", &a));
	char longer[400];
	memset(longer, 'h', sizeof longer);
	strcpy(longer + 300, ":1");
	assert_false(kveil_address_parse(longer, &a));
}

/* A server that takes a connection and says nothing, or nonsense. */
static void test_client_gives_up(void **state)
{
	struct sockaddr_in on = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
	socklen_t len = sizeof on;
	KVEIL_CLEANUP_BUF struct kveil_buf body = KVEIL_BUF_INIT;
	struct kveil_error err;
	unsigned status;
	char url[40];
	int fd = socket(AF_INET, SOCK_STREAM, 0);

	(void)state;
	assert_int_equal(bind(fd, (struct sockaddr *)&on, len), 0);
	getsockname(fd, (struct sockaddr *)&on, &len);
	snprintf(url, sizeof url, "http://127.0.0.1:%d/", ntohs(on.sin_port));
	assert_int_equal(kveil_http_get(url, "/livez", 200, &status, &body, &err), KVEIL_E_IO);
	assert_non_null(strstr(err.message, "refused"));
	listen(fd, 1);
	assert_int_equal(kveil_http_get(url, "/livez", 200, &status, &body, &err), KVEIL_E_IO);
	assert_non_null(strstr(err.message, "no answer in time"));
	close(fd);
	assert_int_equal(kveil_http_get("nonsense", "/livez", 200, &status, &body, &err), KVEIL_E_USAGE);
	assert_int_equal(kveil_http_get("https://localhost:1", "/", 200, &status, &body, &err), KVEIL_E_USAGE);
	assert_int_equal(body.len, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
	    cmocka_unit_test_setup_teardown(test_probes, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_metrics_page, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_metrics_say_what_readyz_says, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_stats_and_index, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_refusals, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_a_foreign_host_name_sees_no_private_page, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_bound_to_every_address_private_pages_are_shut, set_up_everywhere,
					    tear_down),
	    cmocka_unit_test_setup_teardown(test_idle_connections_do_not_shut_it, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_trickling_requests_do_not_shut_it, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_the_unix_socket_answers_everything, set_up_both, tear_down),
	    cmocka_unit_test_setup_teardown(test_probes_by_the_unix_socket_never_wait, set_up_both, tear_down),
	    cmocka_unit_test_setup_teardown(test_only_a_socket_that_nobody_serves_is_replaced, set_up_both, tear_down),
	    cmocka_unit_test_setup_teardown(test_socket_paths_that_cannot_be, set_up, tear_down),
	    cmocka_unit_test_setup_teardown(test_listen_errors, set_up, tear_down),
	    cmocka_unit_test(test_address_parse),
	    cmocka_unit_test(test_client_gives_up),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
