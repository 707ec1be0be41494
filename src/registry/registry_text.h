/* SPDX-License-Identifier: Apache-2.0 */
/* registry/registry_text.h: bytes as the texts that a registry's JSON has for them. Any thread. */
#ifndef KVEIL_REGISTRY_REGISTRY_TEXT_H
#define KVEIL_REGISTRY_REGISTRY_TEXT_H

#include "base/text.h"

#include <jansson.h>

/* A new reference; NULL: out of memory. */
json_t *kveil_registry_text_of(enum kveil_encoding e, const uint8_t *data, size_t n);
/* Exactly n bytes, at most 64, into out, which stays as it is otherwise. */
bool kveil_registry_text_read(enum kveil_encoding e, const char *text, size_t len, uint8_t *out,
			      size_t n) KVEIL_MUST_CHECK;

#endif
