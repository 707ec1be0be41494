/* SPDX-License-Identifier: Apache-2.0 */
/* rules/tags.h: rules that name fields by what a schema tags them with; how: format/avro_tags.h. */
#ifndef KVEIL_RULES_TAGS_H
#define KVEIL_RULES_TAGS_H

#include "rules/plan.h"
#include "rules/seen.h"

bool kveil_path_is_of_tags(const struct kveil_path *path);
/* As kveil_path_covers: a wildcard is for no tag. Whether a tag and a place meet only a schema says. */
bool kveil_place_covers(const struct kveil_path *a, const struct kveil_path *b);
/* Tags instead of a path. */
bool kveil_rule_has_tags(const struct kveil_rule *r);
bool kveil_plan_has_tags(const struct kveil_plan *p);
/* The property of a field that holds its tags. */
const char *kveil_plan_tag_property(const struct kveil_plan *p);
/* What the plan's rules have met; the one thing of a plan that changes, and any thread may add to it. */
struct kveil_seen *kveil_plan_seen(const struct kveil_plan *p);
/* Rules that SIGHUP took anew forget the tags that schemas had before. Before any other thread has the plan. */
void kveil_plan_forget_tags(struct kveil_plan *p);
bool kveil_plan_forgets_tags(const struct kveil_plan *p);

#endif
