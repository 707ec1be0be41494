/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over every file of a folder: the corpus as a regression test. An empty folder is a failure. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int main(int argc, char **argv)
{
	size_t ran = 0;

	if (argc != 2) {
		fprintf(stderr, "usage: %s CORPUS-FOLDER\n", argv[0]);
		return 2;
	}
	DIR *dir = opendir(argv[1]);
	if (!dir) {
		perror(argv[1]);
		return 1;
	}
	for (struct dirent *e; (e = readdir(dir));) {
		char path[4096];
		if (e->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "%s/%s", argv[1], e->d_name);
		FILE *f = fopen(path, "rb");
		if (!f) {
			perror(path);
			return 1;
		}
		fseek(f, 0, SEEK_END);
		long size = ftell(f);
		rewind(f);
		/* Exactly as large as the input, so that the sanitizers see a read past its end. */
		uint8_t *data = malloc(size > 0 ? (size_t)size : 1);
		if (size < 0 || !data || fread(data, 1, (size_t)size, f) != (size_t)size)
			return 1;
		fclose(f);
		LLVMFuzzerTestOneInput(data, (size_t)size);
		free(data);
		ran++;
	}
	closedir(dir);
	printf("%zu inputs\n", ran);
	return ran == 0;
}
