/* SPDX-License-Identifier: Apache-2.0 */
/* What librdkafka's version switches on; docs/librdkafka.md has the story of each. */
#include "kafka/versions.h"

#include <librdkafka/rdkafka.h>

#include <stddef.h>

const struct kveil_kafka_trait kveil_kafka_traits[] = {
    {"seeks time out in milliseconds", "kveil scales the timeout", KVEIL_RDKAFKA_SEEK_MS, false},
    {"a full queue is checked again soon", "kveil wakes the fetcher with a thread", KVEIL_RDKAFKA_FETCH_BACKOFF, true},
    {"a topic made anew is told by its id", "only by its offsets", KVEIL_RDKAFKA_TOPIC_IDS, true},
    {"SCRAM logins at Kafka 4.0 and later", "PLAIN over TLS, OAUTHBEARER or certificates", KVEIL_RDKAFKA_SCRAM_KAFKA_4,
     false},
    {0},
};

bool kveil_kafka_has(const struct kveil_kafka_trait *trait)
{
	return (trait->is_built ? RD_KAFKA_VERSION : rd_kafka_version()) >= trait->since;
}
