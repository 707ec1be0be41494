/* SPDX-License-Identifier: Apache-2.0 */
/* A PKCS#11 module for tests: SoftHSM2 behind a line that can be cut. HSM_LINE names a file whose word is the line's
 * state:
 *
 *   up        everything is SoftHSM2's
 *   dropped   sessions are closed, once each time the word is written anew ("dropped 2", …)
 *   unplugged there is no token
 *   final     the token says that one try of the PIN is left
 *   cut       CKR_DEVICE_REMOVED, also once the line is up again until the module is begun anew, as with network HSMs
 *   hanging   no call comes back
 */
#include <dlfcn.h>
#include <p11-kit/pkcs11.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static CK_FUNCTION_LIST_PTR real;
static CK_FUNCTION_LIST ours;
static char seen[32];
static int is_cut;

static void read_line(char word[32])
{
	FILE *f = fopen(getenv("HSM_LINE"), "r");

	if (!f || !fgets(word, 32, f))
		strcpy(word, "up");
	if (f)
		fclose(f);
}

static CK_RV line(void)
{
	CK_SLOT_ID slots[8];
	CK_ULONG n = 8;
	char word[32];

	for (read_line(word); strncmp(word, "hanging", 7) == 0; read_line(word))
		nanosleep(&(struct timespec){.tv_nsec = 20000000}, NULL);
	if (strncmp(word, "cut", 3) == 0)
		is_cut = 1;
	if (strncmp(word, "dropped", 7) == 0 && strcmp(word, seen) != 0 && real->C_GetSlotList(1, slots, &n) == CKR_OK)
		while (n--)
			real->C_CloseAllSessions(slots[n]);
	strcpy(seen, word);
	if (strncmp(word, "unplugged", 9) == 0)
		return CKR_TOKEN_NOT_PRESENT;
	return is_cut ? CKR_DEVICE_REMOVED : CKR_OK;
}

static CK_RV initialize(void *args)
{
	char word[32];

	read_line(word);
	if (strncmp(word, "cut", 3) == 0)
		return CKR_DEVICE_ERROR;
	return real->C_Initialize(args);
}

static CK_RV finalize(void *reserved)
{
	is_cut = 0;
	return real->C_Finalize(reserved);
}

static CK_RV slot_list(CK_BBOOL present, CK_SLOT_ID_PTR list, CK_ULONG_PTR count)
{
	CK_RV rv = line();

	if (rv == CKR_TOKEN_NOT_PRESENT) {
		*count = 0;
		return CKR_OK;
	}
	return rv ? rv : real->C_GetSlotList(present, list, count);
}

static CK_RV open_session(CK_SLOT_ID slot, CK_FLAGS flags, void *app, CK_NOTIFY notify, CK_SESSION_HANDLE *ret)
{
	CK_RV rv = line();
	return rv ? rv : real->C_OpenSession(slot, flags, app, notify, ret);
}

static CK_RV encrypt_init(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k)
{
	CK_RV rv = line();
	return rv ? rv : real->C_EncryptInit(s, m, k);
}

static CK_RV decrypt_init(CK_SESSION_HANDLE s, CK_MECHANISM_PTR m, CK_OBJECT_HANDLE k)
{
	CK_RV rv = line();
	return rv ? rv : real->C_DecryptInit(s, m, k);
}

static CK_RV token_info(CK_SLOT_ID slot, CK_TOKEN_INFO_PTR info)
{
	CK_RV rv = real->C_GetTokenInfo(slot, info);
	char word[32];

	read_line(word);
	if (strncmp(word, "final", 5) == 0)
		info->flags |= CKF_USER_PIN_FINAL_TRY;
	return rv;
}

/* One byte more in HSM_LINE.logins for each. */
static CK_RV login(CK_SESSION_HANDLE s, CK_USER_TYPE who, CK_UTF8CHAR_PTR pin, CK_ULONG n)
{
	char path[4096];
	snprintf(path, sizeof path, "%s.logins", getenv("HSM_LINE"));
	FILE *f = fopen(path, "a");
	if (f) {
		fputc('x', f);
		fclose(f);
	}
	return real->C_Login(s, who, pin, n);
}

CK_RV C_GetFunctionList(CK_FUNCTION_LIST_PTR_PTR list)
{
	void *library = dlopen(getenv("HSM_MODULE"), RTLD_NOW | RTLD_LOCAL);
	CK_C_GetFunctionList get;

	*(void **)&get = library ? dlsym(library, "C_GetFunctionList") : NULL;
	if (!get || get(&real) != CKR_OK)
		return CKR_GENERAL_ERROR;
	ours = *real;
	ours.C_Initialize = initialize;
	ours.C_Finalize = finalize;
	ours.C_GetSlotList = slot_list;
	ours.C_GetTokenInfo = token_info;
	ours.C_Login = login;
	ours.C_OpenSession = open_session;
	ours.C_EncryptInit = encrypt_init;
	ours.C_DecryptInit = decrypt_init;
	*list = &ours;
	return CKR_OK;
}
