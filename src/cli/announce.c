/* SPDX-License-Identifier: Apache-2.0 */
/* The first lines of a worker's log. */
#include "cli/announce.h"

#include "base/buf.h"
#include "base/log.h"
#include "crypto/algorithm.h"
#include "crypto/crypto.h"
#include "crypto/gcrypt.h"
#include "kafka/kafka.h"

enum { MOST_NAMED = 8 };

/* "a, b, c and 4 more" */
static void append_list(struct kveil_buf *out, size_t n, const char *text)
{
	if (n < MOST_NAMED)
		kveil_buf_printf(out, "%s%s", n ? ", " : "", text);
}

static void append_rest(struct kveil_buf *out, size_t count)
{
	if (count > MOST_NAMED)
		kveil_buf_printf(out, " and %zu more", count - MOST_NAMED);
}

static void say(const struct kveil_buf *line)
{
	if (kveil_buf_ok(line))
		kveil_log(KVEIL_LOG_INFO, "run", "%.*s", (int)line->len, (const char *)line->data);
}

static void announce_keys(const struct kveil_keys_config *k)
{
	KVEIL_CLEANUP_BUF struct kveil_buf line = KVEIL_BUF_INIT;

	kveil_buf_printf(&line, "keys in %s: ", k->registry);
	for (size_t i = 0; i < k->data_count; i++) {
		char text[512];
		snprintf(text, sizeof text, "%s (%s by %s)", k->data[i].name, k->data[i].algorithm->name,
			 k->data[i].keks);
		append_list(&line, i, text);
	}
	append_rest(&line, k->data_count);
	say(&line);
}

void kveil_announce(const struct kveil_config *c)
{
	kveil_log(KVEIL_LOG_INFO, "run", "kveil %s with librdkafka %s, OpenSSL %s, libgcrypt %s", KVEIL_VERSION,
		  kveil_kafka_version(), kveil_crypto_openssl_version(), kveil_gcrypt_version());
	kveil_log(KVEIL_LOG_INFO, "run", "group %s at %s, %llu worker%s", c->kafka.group_id, c->kafka.bootstrap_servers,
		  (unsigned long long)c->workers, c->workers == 1 ? "" : "s");
	announce_keys(&c->keys);
}

void kveil_announce_rules(const struct kveil_plan_set *rules, const char *digest)
{
	KVEIL_CLEANUP_BUF struct kveil_buf line = KVEIL_BUF_INIT;
	size_t count = 0, topics = 0;

	for (size_t i = 0; i < rules->count; i++)
		count += rules->plans[i]->own_rule_count;
	kveil_buf_printf(&line, "rules %s: %zu in %zu file%s, for ", digest, count, rules->count,
			 rules->count == 1 ? "" : "s");
	for (size_t i = 0; i < rules->count; i++)
		for (char **t = rules->plans[i]->topics; *t; t++)
			append_list(&line, topics++, *t);
	append_rest(&line, topics);
	say(&line);
}
