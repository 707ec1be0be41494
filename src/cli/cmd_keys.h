/* SPDX-License-Identifier: Apache-2.0 */
/* cli/cmd_keys.h: what the files of `kveil keys` share. */
#ifndef KVEIL_CLI_CMD_KEYS_H
#define KVEIL_CLI_CMD_KEYS_H

#include "cli/command.h"
#include "keys/keystore.h"

extern const struct kveil_command kveil_command_keys;

struct keys_options {
	const char *config, *at, *output, *follow, *reason, *after, *certificate, *prefix, *from, *limit, *under;
	bool json, now, tink, clear, once, yes, dry_run;
	unsigned given; /* a bit for each row of the table of options */
	char *operands[3];
	int count;
};

/* Says the error with its code; the exit code for its class. */
int keys_failed(const struct kveil_error *err);

/* On stdout, in a line; NULL is out of memory. Takes it. */
typedef struct json_t json_t;
void keys_print_json(json_t *object);

/* For kveil_keystore_each_of, where only its answer counts. */
void keys_pass_over(void *user, const struct kveil_key_info *v);

/* Says that a version cannot be reached; user: a size_t that counts. */
void keys_say_outside(void *user, const struct kveil_key_info *v);

/* Cuts NAME@VERSION at the @ (version 0: it is NAME alone); false: it is neither. */
bool keys_split_version(char *operand, uint32_t *ret);
/* verb: "destroy"; how: " at once", say. true: the name was typed. */
bool keys_confirmed(const char *verb, const char *how, const char *name);
/* How many versions were changed, and what is active now. undo: the command that takes it back, or NULL. The exit code.
 */
int keys_say_changed(const struct keys_options *o, const struct kveil_keys_config *cfg, struct kveil_keystore *ks,
		     size_t changed, const char *done, const char *undo);

/* Writes the registry's own records of what was destroyed, each with its MAC. version 0: of all. The exit code. */
int keys_write_certificate(struct kveil_keystore *ks, const char *name, uint32_t version, const char *path);
/* May path be written over by one? */
enum kveil_status keys_check_certificate(const char *path, struct kveil_error *err) KVEIL_MUST_CHECK;

/* A deterministic key or a hash has another version that seals. */
void keys_warn_unequal(void);

/* Before the first writing: a signal ends keys_follow from then on, and no writing half way. */
void keys_follow_begin(void);
/* fn once a second after the registry was read, until SIGTERM. An outage, or a registry that cannot be read as it is,
 * is waited out and said once; one that lost keys, and anything else, ends it. The exit code. */
typedef enum kveil_status keys_follow_fn(void *user, struct kveil_keystore *ks, struct kveil_error *err);
int keys_follow(struct kveil_keystore *ks, keys_follow_fn *fn, void *user);

int keys_run_rotate(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_retire(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_disable(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_enable(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_cancel(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_restore(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_verify(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_destroy(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_list(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_history(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_export(const struct keys_options *o, const struct kveil_keys_config *cfg);
int keys_run_import(const struct keys_options *o, const struct kveil_keys_config *cfg);

#endif
