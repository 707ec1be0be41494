/* SPDX-License-Identifier: Apache-2.0 */
/* cli/example_place.h: a place in an example's record, the rule that acts there, its key and associated data. Inside
 * cli/example_*.c. */
#ifndef KVEIL_CLI_EXAMPLE_PLACE_H
#define KVEIL_CLI_EXAMPLE_PLACE_H

#include "cli/example.h"

enum { KVEIL_PLACE_WRITES = KVEIL_USE_SEAL | KVEIL_USE_TOKENIZE | KVEIL_USE_MAC };

/* The node's bytes; its name, unescaped, if it is a member; "$['a'][*]" from the doc's root on. */
struct kveil_span kveil_place_raw(const struct kveil_doc *doc, uint32_t node);
struct kveil_span kveil_place_name(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node);
void kveil_place_write_path(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node,
			    struct kveil_buf *out);

/* A template with the values of the record that went in. */
bool kveil_place_fill(struct kveil_form_context *c, const struct kveil_template *t, struct kveil_buf *out);
/* Does the rule read the node, or write it if that is the use? doc's root is then its row's. */
bool kveil_place_finds(struct kveil_form_context *c, const struct kveil_rule *r, unsigned use, struct kveil_doc *doc,
		       uint32_t node);
/* The first that does so with this key; NULL: none. */
const struct kveil_rule *kveil_place_rule(struct kveil_form_context *c, struct kveil_doc *doc, uint32_t node,
					  unsigned use, struct kveil_span key);
/* doc: as the two above left it. */
bool kveil_place_ad(struct kveil_form_context *c, const struct kveil_rule *r, const struct kveil_doc *doc,
		    uint32_t node, struct kveil_buf *out);
/* The same of a part that is one text: "$", "key:$" or "header:NAME". Is the rule about it? The first that writes it
 * with this key; NULL: none. Its associated data; r may be NULL. */
bool kveil_place_is_text(const struct kveil_rule *r, const char *part);
const struct kveil_rule *kveil_place_text_rule(struct kveil_form_context *c, const char *part, struct kveil_span key);
bool kveil_place_text_ad(struct kveil_form_context *c, const struct kveil_rule *r, const char *part,
			 struct kveil_buf *out);
/* A rule's parameter; NULL: its action has none of this name and type. */
const void *kveil_place_parameter(const struct kveil_rule *r, const char *name, enum kveil_option_type type);

/* The token that the rule there makes of text, or, with use DETOKENIZE, takes back to it. */
enum kveil_status kveil_place_token(struct kveil_form_context *c, struct kveil_span key, struct kveil_span text,
				    const struct kveil_doc *doc, uint32_t node, unsigned use, struct kveil_buf *out,
				    struct kveil_error *err) KVEIL_MUST_CHECK;
/* What content, in any encoding, opens to under the key called name. */
bool kveil_place_open(struct kveil_form_context *c, struct kveil_span name, struct kveil_span ad,
		      struct kveil_span content, struct kveil_span *ret);
bool kveil_place_is_hash(struct kveil_form_context *c, struct kveil_span name, struct kveil_span text,
			 struct kveil_span content);

/* example_got.c: what came out, with forms for what the rules sealed, hashed or tokenized: as JSON; and a key or header
 * that is one text. */
void kveil_got_write(struct kveil_form_context *c, const struct kveil_doc *doc, uint32_t node, struct kveil_buf *out);
void kveil_got_write_text(struct kveil_form_context *c, const char *part, struct kveil_span got, struct kveil_buf *out);

#endif
