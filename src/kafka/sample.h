/* SPDX-License-Identifier: Apache-2.0 */
/* kafka/sample.h: the newest values of a topic, for a look at what it carries. Nothing is committed, no group is
 * joined. */
#ifndef KVEIL_KAFKA_SAMPLE_H
#define KVEIL_KAFKA_SAMPLE_H

#include "kveil/base.h"

/* false: enough. key and value are borrowed for the call, and absent where the record has none. */
typedef bool kveil_kafka_sample_fn(void *user, struct kveil_span key, struct kveil_span value);

/* Up to most of the newest values of each partition. KAFKA_UNAVAILABLE: no answer within 10 s. NOT_FOUND: no such
 * topic. */
enum kveil_status kveil_kafka_sample(const char *brokers, const char *topic, int64_t most, kveil_kafka_sample_fn *take,
				     void *user, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
