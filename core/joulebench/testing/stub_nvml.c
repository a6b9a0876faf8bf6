/* A stub of NVIDIA's libnvidia-ml.so.1 for machines without a GPU.
 *
 * It answers the calls that joulebench makes through the real pynvml, from a state file of
 * "key value" lines that it reads anew at each call; the environment variable
 * JOULEBENCH_STUB_NVML names the file. See stub_nvml.py for the keys. Signatures and numbers of
 * errors follow NVIDIA's public header nvml.h.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum {
    SUCCESS = 0,
    INVALID_ARGUMENT = 2,
    NOT_SUPPORTED = 3,
    NOT_FOUND = 6,
    INSUFFICIENT_SIZE = 7,
    DRIVER_NOT_LOADED = 9
};

#define GPUS 16
/* A handle is a pointer that only this library looks into. */
static int gpus[GPUS];

/* The value of a key, or what is given for a missing one. */
static double state(const char *key, double missing)
{
    const char *path = getenv("JOULEBENCH_STUB_NVML");
    FILE *file = path ? fopen(path, "r") : NULL;
    char name[128];
    double value, found = missing;

    if (!file)
        return missing;
    while (fscanf(file, "%127s %lf", name, &value) == 2)
        if (!strcmp(name, key))
            found = value;
    fclose(file);
    return found;
}

/* A figure of one GPU: "gpu1.watts" before "watts". */
static double of(void *device, const char *key, double missing)
{
    char own[160];

    snprintf(own, sizeof own, "gpu%d.%s", (int)((int *)device - gpus), key);
    return state(own, state(key, missing));
}

/* The error that the state file wants from a call, 0 for none. */
static int refusal(void *device, const char *call)
{
    char key[160];

    snprintf(key, sizeof key, "error.%s", call);
    return device ? (int)of(device, key, SUCCESS) : (int)state(key, SUCCESS);
}

#define REFUSE(device)                              \
    do {                                            \
        int refused = refusal(device, __func__);    \
        if (refused)                                \
            return refused;                         \
    } while (0)

static int text(char *buffer, unsigned int length, const char *content)
{
    if (strlen(content) + 1 > length)
        return INSUFFICIENT_SIZE;
    strcpy(buffer, content);
    return SUCCESS;
}

int nvmlInitWithFlags(unsigned int flags)
{
    (void)flags;
    REFUSE(NULL);
    return getenv("JOULEBENCH_STUB_NVML") ? SUCCESS : DRIVER_NOT_LOADED;
}

int nvmlInit_v2(void)
{
    return nvmlInitWithFlags(0);
}

int nvmlShutdown(void)
{
    return SUCCESS;
}

const char *nvmlErrorString(int result)
{
    switch (result) {
    case SUCCESS:
        return "Success";
    case INVALID_ARGUMENT:
        return "Invalid Argument";
    case NOT_SUPPORTED:
        return "Not Supported";
    case 4:
        return "Insufficient Permissions";
    case NOT_FOUND:
        return "Not Found";
    case DRIVER_NOT_LOADED:
        return "Driver Not Loaded";
    case 13:
        return "Function Not Found";
    case 15:
        return "GPU is lost";
    default:
        return "Unknown Error";
    }
}

int nvmlSystemGetDriverVersion(char *version, unsigned int length)
{
    REFUSE(NULL);
    return text(version, length, "0.0-stub");
}

int nvmlSystemGetNVMLVersion(char *version, unsigned int length)
{
    REFUSE(NULL);
    return text(version, length, "0.0-stub");
}

int nvmlDeviceGetCount_v2(unsigned int *count)
{
    REFUSE(NULL);
    *count = (unsigned int)state("devices", 1);
    return SUCCESS;
}

int nvmlDeviceGetHandleByIndex_v2(unsigned int index, void **device)
{
    if (index >= GPUS || index >= (unsigned int)state("devices", 1))
        return INVALID_ARGUMENT;
    REFUSE(&gpus[index]);
    *device = &gpus[index];
    return SUCCESS;
}

int nvmlDeviceGetName(void *device, char *name, unsigned int length)
{
    REFUSE(device);
    return text(name, length, "Stub GPU");
}

int nvmlDeviceGetUUID(void *device, char *uuid, unsigned int length)
{
    char content[64];

    REFUSE(device);
    snprintf(content, sizeof content, "GPU-00000000-0000-0000-0000-%012d",
             (int)((int *)device - gpus));
    return text(uuid, length, content);
}

/* energy_mj, and since since_ns (CLOCK_MONOTONIC) watts for as long, in steps of update_ms. */
int nvmlDeviceGetTotalEnergyConsumption(void *device, unsigned long long *millijoules)
{
    double since_ns, seconds = 0, step_s;
    struct timespec now;

    REFUSE(device);
    since_ns = of(device, "since_ns", 0);
    step_s = of(device, "update_ms", 20) / 1e3;
    if (since_ns > 0) {
        clock_gettime(CLOCK_MONOTONIC, &now);
        seconds = (double)now.tv_sec + (double)now.tv_nsec / 1e9 - since_ns / 1e9;
        if (step_s > 0)
            seconds = (double)(long long)(seconds / step_s) * step_s;
    }
    *millijoules = (unsigned long long)(of(device, "energy_mj", 0) +
                                        of(device, "watts", 0) * seconds * 1e3);
    return SUCCESS;
}

int nvmlDeviceGetPowerUsage(void *device, unsigned int *milliwatts)
{
    REFUSE(device);
    *milliwatts = (unsigned int)(of(device, "watts", 0) * 1e3 + 0.5);
    return SUCCESS;
}

int nvmlDeviceGetTemperature(void *device, int sensor, unsigned int *celsius)
{
    REFUSE(device);
    if (sensor != 0)
        return INVALID_ARGUMENT;
    *celsius = (unsigned int)of(device, "celsius", 40);
    return SUCCESS;
}

struct temperature {
    unsigned int version;
    int sensor;
    int celsius;
};

int nvmlDeviceGetTemperatureV(void *device, struct temperature *temperature)
{
    REFUSE(device);
    if (temperature->sensor != 0)
        return INVALID_ARGUMENT;
    temperature->celsius = (int)of(device, "celsius", 40);
    return SUCCESS;
}

int nvmlDeviceGetClockInfo(void *device, int type, unsigned int *megahertz)
{
    REFUSE(device);
    if (type == 1)
        *megahertz = (unsigned int)of(device, "sm_mhz", 1500);
    else if (type == 2)
        *megahertz = (unsigned int)of(device, "memory_mhz", 6000);
    else
        return NOT_SUPPORTED;
    return SUCCESS;
}

struct memory {
    unsigned long long total, free, used;
};

int nvmlDeviceGetMemoryInfo(void *device, struct memory *memory)
{
    REFUSE(device);
    memory->total = (unsigned long long)of(device, "total_bytes", 8589934592.0);
    /* Version 1 counts what the driver keeps for itself as used. */
    memory->used = (unsigned long long)(of(device, "used_bytes", 0) +
                                        of(device, "reserved_bytes", 0));
    memory->free = memory->total - memory->used;
    return SUCCESS;
}

struct memory_v2 {
    unsigned int version;
    unsigned long long total, reserved, free, used;
};

int nvmlDeviceGetMemoryInfo_v2(void *device, struct memory_v2 *memory)
{
    REFUSE(device);
    memory->total = (unsigned long long)of(device, "total_bytes", 8589934592.0);
    memory->reserved = (unsigned long long)of(device, "reserved_bytes", 0);
    memory->used = (unsigned long long)of(device, "used_bytes", 0);
    memory->free = memory->total - memory->reserved - memory->used;
    return SUCCESS;
}

struct utilization {
    unsigned int gpu, memory;
};

int nvmlDeviceGetUtilizationRates(void *device, struct utilization *utilization)
{
    REFUSE(device);
    /* A real GPU does not give its load while MIG is on. */
    if (of(device, "mig", 0) > 0)
        return NOT_SUPPORTED;
    utilization->gpu = (unsigned int)of(device, "gpu_percent", 0);
    utilization->memory = (unsigned int)of(device, "memory_percent", 0);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksEventReasons(void *device, unsigned long long *reasons)
{
    REFUSE(device);
    *reasons = (unsigned long long)of(device, "clock_reasons", 0);
    return SUCCESS;
}

int nvmlDeviceGetCurrentClocksThrottleReasons(void *device, unsigned long long *reasons)
{
    REFUSE(device);
    *reasons = (unsigned long long)of(device, "clock_reasons", 0);
    return SUCCESS;
}

/* mig: -1 for a GPU that cannot do it, 0 off, 1 on. */
int nvmlDeviceGetMigMode(void *device, unsigned int *current, unsigned int *pending)
{
    double mig;

    REFUSE(device);
    mig = of(device, "mig", 0);
    if (mig < 0)
        return NOT_SUPPORTED;
    *current = *pending = mig > 0;
    return SUCCESS;
}
