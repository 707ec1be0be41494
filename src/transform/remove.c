/* SPDX-License-Identifier: Apache-2.0 */
/* What leaves nothing behind: remove and nullify. */
#include "transform/action.h"

static enum kveil_status remove_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				      struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	(void)call, (void)in, (void)out, (void)err;
	*ret = KVEIL_RESULT_REMOVE;
	return KVEIL_OK;
}

static enum kveil_status nullify_apply(const struct kveil_action_call *call, const struct kveil_value *in,
				       struct kveil_buf *out, enum kveil_result_kind *ret, struct kveil_error *err)
{
	(void)call, (void)in, (void)out, (void)err;
	*ret = KVEIL_RESULT_NULL;
	return KVEIL_OK;
}

static unsigned remove_results(const void *params, enum kveil_kind kind)
{
	(void)params, (void)kind;
	return KVEIL_RESULT_BIT(KVEIL_RESULT_REMOVE);
}

static unsigned nullify_results(const void *params, enum kveil_kind kind)
{
	(void)params, (void)kind;
	return KVEIL_RESULT_BIT(KVEIL_RESULT_NULL);
}

const struct kveil_action kveil_action_remove = {
    .name = "remove",
    .effect = KVEIL_PROTECTS,
    .kinds = ~0u,
    .help = "removes the member, array element or header",
    .about = "Removes any kind of value, and its name.",
    .example = "remove: true",
    .params_bytes = sizeof(bool),
    .scalar = true,
    .results_for = remove_results,
    .apply = remove_apply,
};

const struct kveil_action kveil_action_nullify = {
    .name = "nullify",
    .effect = KVEIL_PROTECTS,
    .kinds = ~0u,
    .help = "replaces the value with null",
    .about = "The member stays, for consumers that expect it.",
    .example = "nullify: true",
    .params_bytes = sizeof(bool),
    .scalar = true,
    .results_for = nullify_results,
    .apply = nullify_apply,
};
