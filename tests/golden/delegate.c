/* A TFLite delegate for tests: it takes every SOFTMAX, and its kernel copies nothing. In the environment,
   TOY_DELEGATE=nothing makes it take no operator, and TOY_DELEGATE=refuse makes it refuse the model.
   The structures follow the C interface of TensorFlow Lite (c/common.h), as far as they are used. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum { OK = 0, ERROR = 1, SOFTMAX = 25, DELEGATE = 51 };

typedef struct { int size; int data[]; } IntArray;
typedef struct Context Context;
typedef struct Delegate Delegate;

typedef struct {
  void *(*init)(Context *, const char *, size_t);
  void (*free)(Context *, void *);
  int (*prepare)(Context *, void *node);
  int (*invoke)(Context *, void *node);
  void *profiling_string;
  int32_t builtin_code;
  const char *custom_name;
  int version;
  void *external, *async;
  uint64_t inplace;
} Registration;

struct Context {
  size_t tensors_size;
  int (*execution_plan)(Context *, IntArray **);
  void *tensors, *impl, *resize, *report, *add;
  int (*node_and_registration)(Context *, int, void **node, Registration **);
  int (*replace)(Context *, Registration, const IntArray *, Delegate *);
};

struct Delegate {
  void *data;
  int (*prepare)(Context *, Delegate *);
  void *copy_from, *copy_to, *free_handle;
  int64_t flags;
  void *opaque;
};

static void *init(Context *context, const char *buffer, size_t length) { return malloc(1); }
static void release(Context *context, void *state) { free(state); }
static int nothing(Context *context, void *node) { return OK; }

static int prepare(Context *context, Delegate *self) {
  const char *behaviour = getenv("TOY_DELEGATE");
  if (behaviour && !strcmp(behaviour, "refuse")) return ERROR;
  if (behaviour && !strcmp(behaviour, "nothing")) return OK;
  IntArray *plan;
  if (context->execution_plan(context, &plan)) return ERROR;
  IntArray *taken = calloc(plan->size + 1, sizeof(int)), *all = malloc((plan->size + 1) * sizeof(int));
  memcpy(all, plan, (plan->size + 1) * sizeof(int));  /* asking for a node may change the plan's storage */
  for (int i = 0; i < all->size; i++) {
    void *node;
    Registration *registration;
    if (context->node_and_registration(context, all->data[i], &node, &registration)) return ERROR;
    if (registration->builtin_code == SOFTMAX) taken->data[taken->size++] = all->data[i];
  }
  Registration kernel = {.init = init, .free = release, .prepare = nothing, .invoke = nothing,
                         .builtin_code = DELEGATE, .custom_name = "ToyDelegate", .version = 1};
  int status = context->replace(context, kernel, taken, self);
  free(taken);
  free(all);
  return status;
}

Delegate *tflite_plugin_create_delegate(const char **keys, const char **values, size_t count, void *report) {
  Delegate *self = calloc(1, sizeof(Delegate));
  self->prepare = prepare;
  return self;
}

void tflite_plugin_destroy_delegate(Delegate *self) { free(self); }
