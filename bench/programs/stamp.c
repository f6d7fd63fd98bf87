/* stamp: says when it started, CLOCK_MONOTONIC in nanoseconds, and ends. */
#include <stdio.h>
#include <time.h>

int main(void)
{
    struct timespec moment;
    clock_gettime(CLOCK_MONOTONIC, &moment);
    printf("%lld\n", (long long)moment.tv_sec * 1000000000LL + moment.tv_nsec);
    return 0;
}
