/* SPDX-License-Identifier: Apache-2.0 */
/* kveil init: a first configuration, rules and keys, from a few answers and a sample of records. */
#include "cli/command.h"

#include "base/event.h"
#include "base/secret.h"
#include "cli/lines.h"
#include "cli/suggest.h"
#include "config/config.h"
#include "crypto/crypto.h"
#include "kafka/sample.h"
#include "keyadmin/admin.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

enum { MOST_SAMPLES = 1000, MOST_OF_A_PARTITION = 100, SAMPLE_MAX = 8 << 20, ANSWER_SIZE = 512 };

static int run(int argc, char **argv);

static const struct kveil_flag flags[] = {
    {0, "brokers", "HOST:PORT,…", "bootstrap servers (default localhost:9092)"},
    {0, "topic", "TOPIC", "the topic to protect (default: the sample's name, or orders)"},
    {0, "sample", "FILE",
     "sample records, from whose fields rules are suggested: JSON (one object, or one per "
     "line), change events, an Avro schema (.avsc), or kafka:TOPIC for the newest records "
     "of a topic (brokers without authentication)"},
    {'y', "yes", NULL, "ask nothing: use the defaults"},
    {0},
};

const struct kveil_command kveil_command_init = {
    .name = "init",
    .usage = "[--sample FILE | --sample kafka:TOPIC] [--topic TOPIC] [--brokers HOST:PORT] [DIR]",
    .help = "write a first configuration, rules with examples, and keys; existing files are "
	    "never changed",
    .flags = flags,
    .run = run,
};

struct answers {
	char dir[ANSWER_SIZE], brokers[ANSWER_SIZE], topic[ANSWER_SIZE], sample[ANSWER_SIZE];
	bool ask;
};

static const char from_kafka[] = "kafka:";

static bool is_kafka(const char *sample)
{
	return strncmp(sample, from_kafka, sizeof from_kafka - 1) == 0;
}

/* --- questions --- */

/* An answer stands if it was given as an option. false: the input ended. */
static bool ask(const struct answers *a, const char *question, const char *by_default, char *answer)
{
	if (*answer)
		return true;
	if (a->ask) {
		fprintf(stderr, *by_default ? "%s [%s]: " : "%s: ", question, by_default);
		if (!fgets(answer, ANSWER_SIZE, stdin)) {
			fputc('\n', stderr);
			return false;
		}
		answer[strcspn(answer, "\r\n")] = 0;
	}
	if (!*answer)
		snprintf(answer, ANSWER_SIZE, "%s", by_default);
	return true;
}

/* It becomes the name of files, and text in YAML. */
static bool is_topic(const char *text)
{
	size_t n = strlen(text);

	return n > 0 && n < 200 &&
	       strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") == n &&
	       strcmp(text, ".") != 0 && strcmp(text, "..") != 0;
}

static bool is_brokers(const char *text)
{
	for (const char *at = text; *at; at++)
		if (!isalnum((unsigned char)*at) && !strchr(".:,-_[]/", *at))
			return false;
	return *text;
}

/* What a sample's name says of its topic: kafka:TOPIC, or FOLDER/TOPIC.json. */
static void guess_topic(const char *sample, char topic[static ANSWER_SIZE])
{
	const char *slash = strrchr(sample, '/');
	const char *name = is_kafka(sample) ? sample + sizeof from_kafka - 1 : slash ? slash + 1 : sample;
	const char *dot = is_kafka(sample) ? NULL : strrchr(name, '.');

	snprintf(topic, ANSWER_SIZE, "%.*s", (int)(dot ? (size_t)(dot - name) : strlen(name)), name);
	if (!is_kafka(sample) && (!is_topic(topic) || strncmp(sample, "/dev/", 5) == 0))
		snprintf(topic, ANSWER_SIZE, "orders");
}

static int ask_all(struct answers *a)
{
	char topic[ANSWER_SIZE];

	guess_topic(a->sample, topic);
	bool ok = ask(a, "Kafka brokers", "localhost:9092", a->brokers) &&
		  ask(a, "Topic to protect", topic, a->topic) &&
		  ask(a, "File with sample records, or kafka:TOPIC (Enter for none)", "", a->sample);

	if (!ok) {
		fprintf(stderr, "kveil init: nothing was written\n");
		return KVEIL_EXIT_USAGE;
	}
	if (!is_topic(a->topic))
		return kveil_usage_error(&kveil_command_init, "'%s' is not a topic name", a->topic);
	if (!is_brokers(a->brokers))
		return kveil_usage_error(&kveil_command_init, "'%s' is not HOST:PORT,HOST:PORT", a->brokers);
	return KVEIL_EXIT_OK;
}

/* --- the sample --- */

static int no_record(const char *file, uint64_t line)
{
	fprintf(stderr, "kveil init: %s:%llu: no JSON object\n", file, (unsigned long long)line);
	return KVEIL_EXIT_FAILED;
}

/* Tombstones, as tools print them. */
static bool is_blank(struct kveil_span line)
{
	while (line.len && memchr(" \t\r", line.data[line.len - 1], 3))
		line.len--;
	while (line.len && memchr(" \t", line.data[0], 2))
		line = kveil_span_of(line.data + 1, line.len - 1);
	return !line.len || kveil_span_eq(line, KVEIL_SPAN("null")) || kveil_span_eq(line, KVEIL_SPAN("NULL"));
}

/* One object over several lines, or one a line. */
static int take_lines(struct kveil_suggestion *s, struct kveil_lines *l, const char *file, struct kveil_error *err)
{
	struct kveil_span line, whole = KVEIL_SPAN_NULL;
	enum kveil_status status = kveil_lines_next(l, &line, err);

	if (!status && !line.data)
		return no_record(file, 1);
	if (!status)
		status = kveil_lines_whole(l, &whole, err);
	if (!status && whole.data && kveil_suggestion_take(s, whole))
		return KVEIL_EXIT_OK;
	if (whole.data)
		line.data = whole.data; /* it was moved */
	for (uint64_t n = 0; !status && line.data && n < MOST_SAMPLES; n++) {
		if (!is_blank(line) && !kveil_suggestion_take(s, line))
			return no_record(file, n + 1);
		status = kveil_lines_next(l, &line, err);
	}
	if (status)
		fprintf(stderr, "kveil init: %s: %s\n", file, err->message);
	return status ? KVEIL_EXIT_FAILED : KVEIL_EXIT_OK;
}

struct topic_sample {
	struct kveil_suggestion *s;
	int taken, left;
};

/* Framed as Confluent's serializers do: 0 and a schema's id. */
static bool take_value(void *user, struct kveil_span key, struct kveil_span value)
{
	struct topic_sample *t = user;

	if (key.len)
		kveil_suggestion_take_key(t->s, key);
	if (value.len && value.data[0] == 0)
		t->left++;
	else if (value.data)
		t->taken += kveil_suggestion_take(t->s, value);
	return t->taken + t->left < MOST_SAMPLES;
}

static int read_topic(struct kveil_suggestion *s, const struct answers *a)
{
	struct topic_sample t = {.s = s};
	const char *topic = a->sample + sizeof from_kafka - 1;
	struct kveil_error err;

	if (kveil_kafka_sample(a->brokers, topic, MOST_OF_A_PARTITION, take_value, &t, &err)) {
		fprintf(stderr, "kveil init: %s\n", err.message);
		return KVEIL_EXIT_FAILED;
	}
	if (t.taken)
		return KVEIL_EXIT_OK;
	fprintf(stderr,
		t.left ? "kveil init: the values of %s name a schema: --sample SCHEMA.avsc, with that schema\n"
		       : "kveil init: %s contains no JSON object\n",
		topic);
	return KVEIL_EXIT_FAILED;
}

static int read_sample(struct kveil_suggestion *s, const struct answers *a)
{
	const char *file = a->sample;
	struct kveil_lines l;
	struct kveil_error err;

	if (!*file)
		return KVEIL_EXIT_OK;
	if (is_kafka(file))
		return read_topic(s, a);
	if (kveil_lines_open(&l, file, SAMPLE_MAX, &err)) {
		fprintf(stderr, "kveil init: %s\n", err.message);
		return KVEIL_EXIT_USAGE;
	}
	int code = take_lines(s, &l, file, &err);
	kveil_lines_close(&l);
	return code;
}

/* --- the files --- */

static bool path_in(char *dst, size_t size, const char *dir, const char *name)
{
	return snprintf(dst, size, "%s/%s", dir, name) < (int)size;
}

static int complain(const char *path)
{
	fprintf(stderr, "kveil init: %s: %s\n", path, strerror(errno));
	return KVEIL_EXIT_FAILED;
}

static int make_folder(const char *path)
{
	return mkdir(path, 0755) == 0 || errno == EEXIST ? KVEIL_EXIT_OK : complain(path);
}

/* Never over what is there. */
static int write_new(const char *path, const struct kveil_buf *text)
{
	int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	FILE *f = fd < 0 ? NULL : fdopen(fd, "w");

	if (!f || !kveil_buf_ok(text)) {
		if (fd >= 0)
			close(fd);
		return complain(path);
	}
	bool ok = fwrite(text->data, 1, text->len, f) == text->len;
	if (fclose(f) || !ok)
		return complain(path);
	printf("  %s\n", path);
	return KVEIL_EXIT_OK;
}

static void put_configuration(const struct answers *a, const struct kveil_suggestion *s, struct kveil_buf *out)
{
	kveil_buf_printf(out,
			 "# Every option: docs/configuration.md.\n"
			 "kafka:\n"
			 "  bootstrap_servers: \"%s\"\n"
			 "  group_id: \"kveil-%s\"\n"
			 "  # properties: {security.protocol: ssl}   # over a network: records come in clear\n"
			 "rules: rules/\n"
			 "keys:\n"
			 "  registry: file:keys.json    # replicas on several hosts: kafka:TOPIC\n"
			 "  keks:\n"
			 "    local: {provider: file, path: kek}   # in production: an HSM, Vault or a KMS "
			 "(docs/custodians.md)\n"
			 "  data:\n"
			 "    pii: {algorithm: aes-256-gcm, kek: local, rotate_every: 24h}\n"
			 "    pepper: {algorithm: hmac-sha-256, kek: local}\n"
			 "    dead-letters: {algorithm: aes-256-gcm, kek: local}\n"
			 "%screate_topics: true   # create missing output topics\n"
			 "http: {listen: \"127.0.0.1:9819\"}\n",
			 a->brokers, a->topic,
			 kveil_suggestion_has_tokens(s)
			     ? "    ids: {algorithm: aes-256-siv, kek: local}   # join: SCOPE, for "
			       "tokens to compare across columns\n"
			     : "");
	if (kveil_suggestion_is_avro(s))
		kveil_buf_append_str(out, "schema_registry: {url: \"http://localhost:8081\"}   # change this\n");
}

static void put_rules(const struct answers *a, const struct kveil_suggestion *s, struct kveil_buf *out)
{
	kveil_buf_printf(out,
			 "# What to protect in %s, and how. Actions: docs/actions.md. Fields that no rule "
			 "names pass unchanged; with\n"
			 "# `unmatched: remove` only fields that a rule or `clear:` names pass.\n"
			 "name: \"%s\"\n"
			 "topics: [\"%s\"]\n"
			 "format: %s\n",
			 a->topic, a->topic, a->topic, kveil_suggestion_is_avro(s) ? "avro" : "json");
	if (kveil_suggestion_envelope(s))
		kveil_buf_printf(out, "envelope: %s   # rules address the row inside an event: docs/cdc.md\n",
				 kveil_suggestion_envelope(s));
	kveil_buf_append_str(out, "output: \"{topic}.secure\"\n"
				  "fields:\n");
	kveil_suggestion_write_fields(s, out);
}

static int write_files(const struct answers *a, const struct kveil_suggestion *s)
{
	KVEIL_CLEANUP_BUF struct kveil_buf configuration = KVEIL_BUF_INIT, rules = KVEIL_BUF_INIT,
					   examples = KVEIL_BUF_INIT;
	char names[3][64 + ANSWER_SIZE], paths[4][64 + 2 * ANSWER_SIZE];

	put_configuration(a, s, &configuration);
	put_rules(a, s, &rules);
	kveil_suggestion_write_examples(s, &examples);
	const struct kveil_buf *texts[] = {&configuration, &rules, &examples};
	snprintf(names[0], sizeof names[0], "kveil.yaml");
	snprintf(names[1], sizeof names[1], "rules/%s.yaml", a->topic);
	snprintf(names[2], sizeof names[2], "rules/%s.examples.yaml", a->topic);
	if (!path_in(paths[3], sizeof paths[3], a->dir, "rules"))
		return KVEIL_EXIT_USAGE;
	/* All or nothing, as far as can be seen. */
	for (size_t i = 0; i < 3; i++)
		if (!path_in(paths[i], sizeof paths[i], a->dir, names[i]) || access(paths[i], F_OK) == 0) {
			fprintf(stderr, "kveil init: %s already exists: nothing was written\n", paths[i]);
			return KVEIL_EXIT_USAGE;
		}
	int code = make_folder(a->dir);
	if (!code)
		code = make_folder(paths[3]);
	if (!code)
		printf("written:\n");
	for (size_t i = 0; !code && i < 3; i++)
		code = write_new(paths[i], texts[i]);
	return code;
}

static int make_keys(const struct answers *a)
{
	char path[64 + ANSWER_SIZE];
	struct kveil_report report = {0};
	struct kveil_keys_init_result made;
	struct kveil_error err = {0};

	path_in(path, sizeof path, a->dir, "kveil.yaml");
	struct kveil_config *config = kveil_config_load(path, &report);
	kveil_report_print(&report, stderr);
	kveil_report_clear(&report);
	if (!config)
		return KVEIL_EXIT_FAILED;
	enum kveil_status status = kveil_keys_make_kek(&config->keys, "local", &err);
	bool there = status == KVEIL_E_KEY_EXISTS;
	if (!status || there)
		status = kveil_keys_init(&config->keys, &made, &err);
	kveil_config_free(config);
	if (status) {
		fprintf(stderr, "kveil init: %s\n", err.message);
		return KVEIL_EXIT_FAILED;
	}
	printf("  %s/kek: %s\n  %s/keys.json\n", a->dir,
	       there ? "was there" : "the key-encryption key; keep a copy elsewhere: without it nothing opens", a->dir);
	return KVEIL_EXIT_OK;
}

/* In single quotes where a shell would take it apart. */
static void print_word(const char *text)
{
	if (text[strspn(text, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/")]) {
		putchar('\'');
		for (; *text; text++)
			*text == '\'' ? fputs("'\\''", stdout) : putchar(*text);
		putchar('\'');
	} else
		fputs(text, stdout);
}

static void print_next(const struct answers *a, const struct kveil_suggestion *s)
{
	printf("\n%zu rule%s suggested%s. Next:\n  kveil test -r ", kveil_suggestion_rules(s),
	       kveil_suggestion_rules(s) == 1 ? "" : "s",
	       !*a->sample                 ? ", because there is no sample"
	       : kveil_suggestion_rules(s) ? "; review them"
					   : ": nothing in the sample looks personal, so name the fields yourself");
	print_word(a->dir);
	printf("/rules/\n");
	if (*a->sample && !is_kafka(a->sample) && !kveil_suggestion_is_avro(s)) {
		printf("  kveil apply --demo-keys --diff %s-r ", kveil_suggestion_is_whole(s) ? "-J " : "");
		print_word(a->dir);
		printf("/rules/%s.yaml ", a->topic);
		print_word(a->sample);
		printf("\n");
	}
	printf("  kveil run -c ");
	print_word(a->dir);
	printf("/kveil.yaml\n");
}

/* --- the command --- */

static int begin(struct answers *a)
{
	struct kveil_suggestion *s = kveil_suggestion_new();
	struct kveil_error err;

	if (!s)
		return KVEIL_EXIT_FAILED;
	int code = ask_all(a);
	if (!code)
		code = read_sample(s, a);
	if (!code)
		code = write_files(a, s);
	if (!code && kveil_crypto_init(&err)) {
		fprintf(stderr, "kveil init: %s\n", err.message);
		code = KVEIL_EXIT_FAILED;
	}
	kveil_event_setup("init");
	if (!code)
		code = make_keys(a);
	if (!code)
		print_next(a, s);
	kveil_suggestion_free(s);
	return code;
}

static int run(int argc, char **argv)
{
	const struct kveil_command *cmd = &kveil_command_init;
	struct answers a = {.ask = isatty(STDIN_FILENO)};
	const char *value;

	for (int index = 1; index < argc;) {
		const struct kveil_flag *f = kveil_flag_next(cmd, argc, argv, &index, &value);
		if (f == &kveil_flag_help || f == &kveil_flag_error)
			return f == &kveil_flag_help ? KVEIL_EXIT_OK : KVEIL_EXIT_USAGE;
		if (!f && index >= argc)
			break;
		if (!f && *a.dir)
			return kveil_usage_error(cmd, "'%s' is too much", argv[index]);
		const char *text = f ? value : argv[index++];
		char *to = !f                                     ? a.dir
			   : !f->argument                         ? NULL
			   : strcmp(f->long_name, "brokers") == 0 ? a.brokers
			   : strcmp(f->long_name, "topic") == 0   ? a.topic
								  : a.sample;
		if (!to)
			a.ask = false;
		else if (snprintf(to, ANSWER_SIZE, "%s", text) >= ANSWER_SIZE)
			return kveil_usage_error(cmd, "'%.40s…' is too long", text);
	}
	if (!*a.dir)
		snprintf(a.dir, sizeof a.dir, ".");
	kveil_secret_harden_process();
	return begin(&a);
}
