/* SPDX-License-Identifier: Apache-2.0 */
/* A child of the tests dies at its N-th step towards the disk, as if the power went. */
#ifndef KVEIL_TESTS_DYING_DISK_H
#define KVEIL_TESTS_DYING_DISK_H

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <unistd.h>

/* -1: it lives. Then it ends with 99. */
static int steps_left = -1;

static void step(void)
{
	if (steps_left > 0 && --steps_left == 0)
		_exit(99);
}

int rename(const char *from, const char *to)
{
	step();
	long rc = syscall(SYS_renameat2, AT_FDCWD, from, AT_FDCWD, to, 0);
	step();
	return (int)rc;
}

int fsync(int fd)
{
	step();
	return (int)syscall(SYS_fsync, fd);
}

int unlink(const char *path)
{
	step();
	return (int)syscall(SYS_unlinkat, AT_FDCWD, path, 0);
}

#endif
