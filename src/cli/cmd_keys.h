/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_keys.h: what the files of `kveil keys` share. */
#ifndef KVEIL_CLI_CMD_KEYS_H
#define KVEIL_CLI_CMD_KEYS_H

#include "cli/command.h"
#include "keys/keystore.h"

extern const struct kveil_command kveil_command_keys;

struct keys_options {
	const char *config, *at, *output, *follow, *reason;
	bool json, now, tink, clear, once, yes, dry_run;
	unsigned given; /* a bit for each row of the table of options */
	char *operands[3];
	int count;
};

/* Says the error with its code; the exit code for its class. */
int keys_failed(const struct kveil_error *err);

/* For kveil_keystore_each_of, where only its answer counts. */
void keys_pass_over(void *user, const struct kveil_key_info *v);

/* Says that a version cannot be reached; user: a size_t that counts. */
void keys_say_outside(void *user, const struct kveil_key_info *v);

/* A deterministic key or a hash has another version that seals. */
void keys_warn_unequal(void);

/* fn once a second after the registry was read, until SIGTERM. An outage, or a registry that cannot be read as it is, is waited
 * out and said once; one that lost keys, and anything else, ends it. The exit code. */
typedef enum kveil_status keys_follow_fn(void *user, struct kveil_keystore *ks, struct kveil_error *err);
int keys_follow(struct kveil_keystore *ks, keys_follow_fn *fn, void *user);

int keys_run_rotate(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_retire(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_destroy(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_history(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_export(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_import(const struct keys_options *o, const struct kveil_keys_config *cfg);

#endif
