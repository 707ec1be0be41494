/* SPDX-License-Identifier: Apache-2.0 */
/*
 * registry/registry_memory.h: a registry that ends with its process and keeps no versions: for keys in memory only.
 * It stands in no table, so that no configuration can name it: what it forgets, nobody opens again.
 */
#ifndef KVEIL_REGISTRY_REGISTRY_MEMORY_H
#define KVEIL_REGISTRY_REGISTRY_MEMORY_H

#include "registry/registry.h"

enum kveil_status kveil_registry_memory_new(struct kveil_registry **ret, struct kveil_error *err) KVEIL_MUST_CHECK;

#endif
