/* SPDX-License-Identifier: Apache-2.0 */
/*
 * worker/topic_ids.h: Kafka gives each topic an id when it is made. A topic that was deleted and made anew has the name
 * of the old one, and another id. librdkafka tells it from 2.3 on; before that, nothing here is known and nothing is
 * said.
 */
#ifndef KVEIL_WORKER_TOPIC_IDS_H
#define KVEIL_WORKER_TOPIC_IDS_H

#include "worker/commit_note.h"

struct kveil_topic_id {
	char *name;
	char id[KVEIL_TOPIC_ID_CHARS + 1];
};

struct kveil_topic_ids {
	struct kveil_topic_id *list;
	size_t count;
};

/* Those of the topics in the list, as the cluster has them now; of what gives no answer in time, none. Blocks: not on a
 * worker's thread. */
void kveil_topic_ids_ask(rd_kafka_t *rk, const rd_kafka_topic_partition_list_t *topics, int timeout_ms,
			 struct kveil_topic_ids *ret);
void kveil_topic_ids_clear(struct kveil_topic_ids *ids);
/* "" = not known. */
const char *kveil_topic_ids_find(const struct kveil_topic_ids *ids, const char *name);

/* Is the topic another one than that whose records were read? *known: the id that goes with what is committed, "" = not
 * known yet; learnt from the note beside the offset, else from now. */
bool kveil_topic_id_is_another(char known[KVEIL_TOPIC_ID_CHARS + 1], const char *noted, const char *now);

#endif
