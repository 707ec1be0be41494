/* SPDX-License-Identifier: Apache-2.0 */
/* keytopic/registry_kafka.h: the key registry `kafka:TOPIC`. It stands here because rdkafka.h does. */
#ifndef KVEIL_KEYTOPIC_REGISTRY_KAFKA_H
#define KVEIL_KEYTOPIC_REGISTRY_KAFKA_H

#include "registry/registry.h"

/* env.options is the const struct kveil_config *, of which only kafka is read. */
extern const struct kveil_registry_driver kveil_registry_kafka;

#endif
