/* SPDX-License-Identifier: Apache-2.0 */
/* kafka/versions.h: what depends on librdkafka's version, for the code that asks and for `kveil version`. */
#ifndef KVEIL_KAFKA_VERSIONS_H
#define KVEIL_KAFKA_VERSIONS_H

#include <stdbool.h>

/* As RD_KAFKA_VERSION, for #if too: the first version that has it. */
#define KVEIL_RDKAFKA_SEEK_MS       0x020100ff
#define KVEIL_RDKAFKA_FETCH_BACKOFF 0x020200ff
#define KVEIL_RDKAFKA_TOPIC_IDS     0x020300ff
#define KVEIL_RDKAFKA_SCRAM_KAFKA_4 0x020601ff

struct kveil_kafka_trait {
	const char *what, *otherwise;
	int since;
	bool is_built; /* the version that kveil was built with decides, not the one that runs */
};

/* Ends with .what NULL. */
extern const struct kveil_kafka_trait kveil_kafka_traits[];
bool kveil_kafka_has(const struct kveil_kafka_trait *trait);

#endif
