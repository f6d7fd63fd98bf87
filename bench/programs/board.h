/* The board: a shared file on which hogs, witness and bench write what they see. All fields are 64 bits wide, so that
 * Python reads it as one array (bench/hogs.py names the same offsets). Times are CLOCK_MONOTONIC in nanoseconds. */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define MEMBERS 32
#define STAMPS 4096

struct board {
    volatile uint64_t members;          /* registered so far */
    volatile uint64_t go;               /* the bench says start */
    volatile uint64_t finished;         /* hogs that reached their bound */
    volatile uint64_t witness_ready;
    volatile uint64_t peak;             /* bytes: largest sum of resident memory */
    volatile uint64_t crossed;          /* first seen above the limit */
    volatile uint64_t stopped;          /* first seen with every member stopped, or without memory */
    volatile uint64_t gone;             /* first seen without any memory */
    volatile uint64_t pids[MEMBERS];
    volatile uint64_t touched[MEMBERS]; /* bytes */
    volatile uint64_t stamps[STAMPS];   /* [n]: when the first hog had n MB */
};

static uint64_t now(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    return (uint64_t)moment.tv_sec * 1000000000u + (uint64_t)moment.tv_nsec;
}

static struct board *open_board(const char *path)
{
    int file = open(path, O_RDWR | O_CLOEXEC);
    if (file < 0) {
        perror(path);
        exit(1);
    }
    struct board *board = mmap(NULL, sizeof *board, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, file, 0);
    if (board == MAP_FAILED) {
        perror("mmap");
        exit(1);
    }
    close(file);
    return board;
}
