/* SPDX-License-Identifier: Apache-2.0 */
/*
 * rules/invert.h: the rule file that opens what another one seals, for those who hold the keys. What cannot be opened
 * (masks, hashes) or told apart (a condition on values that are protected now) stands there as a comment.
 */
#ifndef KVEIL_RULES_INVERT_H
#define KVEIL_RULES_INVERT_H

#include "base/buf.h"
#include "rules/plan.h"

/* Appends the YAML text for one view of the plan. Returns the number of rules in it; 0 = nothing to open. */
size_t kveil_plan_write_inverse(const struct kveil_plan *p, size_t view, struct kveil_buf *out);

#endif
