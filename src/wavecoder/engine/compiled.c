/* The compiled engine: fully connected autoencoders trained on a CPU, a chunk of optimiser steps in one call.
 *
 * PyTorch's operators cost more than the arithmetic of networks this small, and pass megabytes through memory from one to the next.
 * Here a thread takes one member at a time and does many steps of it: renders the batch, forward, backward, Adam. All of that stays
 * in the core's own cache, and threads meet once a chunk, so a busy machine slows a run by its share and no more.
 *
 * Matrices are stored row by row. Activations are [feature, batch], with rows padded to whole vectors.
 */

#include <math.h>
#include <pthread.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#define LOW 0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23
#define HIGH 8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31
#define ROWS 6 /* rows and vectors of a tile: its sums and its operands fill the registers */
#define VECTORS 4
#elif defined(__AVX__)
#define LANES 8
#define LOW 0, 8, 1, 9, 2, 10, 3, 11
#define HIGH 4, 12, 5, 13, 6, 14, 7, 15
#define ROWS 6
#define VECTORS 2
#else
#define LANES 4
#define LOW 0, 4, 1, 5
#define HIGH 2, 6, 3, 7
#define ROWS 4
#define VECTORS 2
#endif
#define MAX_THREADS 256
#define MAX_LAYERS 64
#define MOST_SLICED 8 /* members for each thread, from which on it matters little that some threads have one more */
#define FAST_SINE 1e5f /* largest angle of the fast sine */
#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4)));
typedef int indices __attribute__((vector_size(4 * LANES)));

#if defined(__clang__)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (indices){__VA_ARGS__})
#endif

const char source_sha256[] = SOURCE_SHA256; /* bindings.py loads no library that was built from another version of this file */

/* In the order of ACTIVATIONS and LOSSES in bindings.py. */
enum activation { IDENTITY, RELU, SIGMOID, TANH, LEAKY_RELU, PRELU, GELU };
enum loss { MSE, L1, HUBER };

/* One affine layer and the activation after it. Where its parameters begin is counted in floats from the first parameter of a
 * member: weights [outputs, inputs], biases [outputs], the slope of a PReLU; -1 stands for none. */
struct layer {
    long inputs, outputs, activation, weight, bias, slope;
    float fixed_slope; /* of a leaky ReLU */
};

/* What Adam or AdamW needs in one step: the learning rate over the bias correction of the first moment, and so on. */
struct adam {
    float step_size, root_scale, beta1, beta2, epsilon, decay, penalty;
};

/* --- products of small matrices ------------------------------------------------------------------------------------------- */

/* C = A B + bias for `rows` rows and `vectors` vectors of columns, of which `columns` are stored;
 * A(i, k) = a[i * a_row + k * a_column]. */
INLINE void tile(int rows, int vectors, long columns, long depth, const float *a, long a_row, long a_column, const float *b,
                 long b_row, float *c, long c_row, const float *bias)
{
    vector sums[ROWS][VECTORS];
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++)
            sums[i][j] = (vector){0} + (bias ? bias[i] : 0.0f);
    for (long k = 0; k < depth; k++) {
        vector right[VECTORS];
        for (int j = 0; j < vectors; j++)
            right[j] = *(const vector *)(b + k * b_row + j * LANES);
        for (int i = 0; i < rows; i++)
            for (int j = 0; j < vectors; j++)
                sums[i][j] += a[i * a_row + k * a_column] * right[j];
    }
    for (int i = 0; i < rows; i++)
        for (int j = 0; j < vectors; j++) {
            if (columns >= (j + 1) * LANES)
                *(vector *)(c + i * c_row + j * LANES) = sums[i][j];
            else
                memcpy(c + i * c_row + j * LANES, &sums[i][j], (columns - j * LANES) * sizeof(float));
        }
}

/* All rows of some vectors of columns. The numbers of rows and vectors are known to the compiler, so that sums stay in registers. */
INLINE void stripe(int vectors, long m, long columns, long depth, const float *a, long a_row, long a_column, const float *b,
                   long b_row, float *c, long c_row, const float *bias)
{
#define TILE(rows)                                                                                                              \
    case rows:                                                                                                                  \
        tile(rows, vectors, columns, depth, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row, bias ? bias + i : 0); \
        break;
    for (long i = 0; i < m; i += ROWS)
        switch (m - i) {
            TILE(1) TILE(2) TILE(3)
#if ROWS > 4
            TILE(4) TILE(5)
#endif
        default:
            tile(ROWS, vectors, columns, depth, a + i * a_row, a_row, a_column, b, b_row, c + i * c_row, c_row,
                 bias ? bias + i : 0);
        }
#undef TILE
}

/* C = A B + bias, with C m x n; B is read in whole vectors. */
static void product(long m, long n, long depth, const float *a, long a_row, long a_column, const float *b, long b_row, float *c,
                    long c_row, const float *bias)
{
#define STRIPE(vectors)                                                                                                         \
    case vectors:                                                                                                               \
        stripe(vectors, m, n - j, depth, a, a_row, a_column, b + j, b_row, c + j, c_row, bias);                                 \
        break;
    for (long j = 0; j < n; j += VECTORS * LANES)
        switch ((n - j + LANES - 1) / LANES) {
            STRIPE(1)
#if VECTORS > 2
            STRIPE(2) STRIPE(3)
#endif
        default:
            stripe(VECTORS, m, n - j, depth, a, a_row, a_column, b + j, b_row, c + j, c_row, bias);
        }
#undef STRIPE
}

INLINE long padded(long count)
{
    return (count + LANES - 1) / LANES * LANES;
}

/* B = A transposed, with A m x n; both have whole vectors in rows and columns, which may hold anything outside. */
static void transpose(long m, long n, const float *a, long a_row, float *b, long b_row)
{
    for (long i = 0; i < m; i += LANES)
        for (long j = 0; j < n; j += LANES) {
            vector block[LANES], next[LANES];
            for (int k = 0; k < LANES; k++)
                block[k] = i + k < m ? *(const vector *)(a + (i + k) * a_row + j) : (vector){0};
            for (int round = 1; round < LANES; round *= 2) {
                for (int k = 0; k < LANES / 2; k++) {
                    next[2 * k] = SHUFFLE(block[k], block[k + LANES / 2], LOW);
                    next[2 * k + 1] = SHUFFLE(block[k], block[k + LANES / 2], HIGH);
                }
                for (int k = 0; k < LANES; k++)
                    block[k] = next[k];
            }
            for (int k = 0; k < LANES; k++)
                *(vector *)(b + (j + k) * b_row + i) = block[k];
        }
}

/* --- functions of one number, without branches, so that compilers make vector code of them --------------------------------- */

/* e^x to two units in the last place, and without a branch, so that compilers make vectors of it (after Moshier's Cephes). */
INLINE float exponential(float x)
{
    x = x > 88.0f ? 88.0f : x < -87.0f ? -87.0f : x; /* NaN propagates */
    const float shift = 12582912.0f;                 /* adding it rounds to a whole number, n, which stands in the lowest bits */
    float shifted = x * 1.44269504f + shift, n = shifted - shift;
    float r = x - n * 0.693359375f + n * 2.12194440e-4f;
    float p = 1.9875691500e-4f;
    p = p * r + 1.3981999507e-3f;
    p = p * r + 8.3334519073e-3f;
    p = p * r + 4.1665795894e-2f;
    p = p * r + 1.6666665459e-1f;
    p = p * r + 5.0000001201e-1f;
    p = p * r * r + r + 1.0f;
    unsigned bits;
    memcpy(&bits, &shifted, sizeof bits);
    bits = (bits + 127) << 23; /* the bits of 2^n */
    float power;
    memcpy(&power, &bits, sizeof power);
    return p * power;
}

INLINE float sigmoid(float x)
{
    return 1.0f / (1.0f + exponential(-x));
}

/* The Gaussian distribution function, given e^(-x^2/2), to 1e-7 (Abramowitz & Stegun 1964, 7.1.26). */
INLINE float gaussian(float x, float e)
{
    float t = 1.0f / (1.0f + 0.3275911f * 0.70710678f * fabsf(x));
    float p = 1.061405429f;
    p = p * t - 1.453152027f;
    p = p * t + 1.421413741f;
    p = p * t - 0.284496736f;
    p = p * t + 0.254829592f;
    float tail = 0.5f * p * t * e;
    return x > 0.0f ? 1.0f - tail : tail;
}

static void activate(long kind, float slope, long count, const float *restrict z, float *restrict y)
{
    switch (kind) {
    case RELU:
        for (long i = 0; i < count; i++)
            y[i] = z[i] < 0.0f ? 0.0f : z[i];
        break;
    case SIGMOID:
        for (long i = 0; i < count; i++)
            y[i] = sigmoid(z[i]);
        break;
    case TANH:
        for (long i = 0; i < count; i++)
            y[i] = 2.0f * sigmoid(2.0f * z[i]) - 1.0f;
        break;
    case LEAKY_RELU:
    case PRELU:
        for (long i = 0; i < count; i++)
            y[i] = z[i] > 0.0f ? z[i] : slope * z[i];
        break;
    case GELU:
        for (long i = 0; i < count; i++)
            y[i] = z[i] * gaussian(z[i], exponential(-0.5f * z[i] * z[i]));
        break;
    }
}

/* Multiplies the gradient with respect to y = f(z) by f'(z). */
static void differentiate(long kind, float slope, long count, const float *restrict z, const float *restrict y,
                          float *restrict gradient)
{
    switch (kind) {
    case RELU:
        for (long i = 0; i < count; i++)
            gradient[i] = z[i] > 0.0f ? gradient[i] : 0.0f;
        break;
    case SIGMOID:
        for (long i = 0; i < count; i++)
            gradient[i] *= y[i] * (1.0f - y[i]);
        break;
    case TANH:
        for (long i = 0; i < count; i++)
            gradient[i] *= 1.0f - y[i] * y[i];
        break;
    case LEAKY_RELU:
    case PRELU:
        for (long i = 0; i < count; i++)
            gradient[i] *= z[i] > 0.0f ? 1.0f : slope;
        break;
    case GELU:
        for (long i = 0; i < count; i++) {
            float e = exponential(-0.5f * z[i] * z[i]);
            gradient[i] *= gaussian(z[i], e) + z[i] * 0.39894228f * e;
        }
        break;
    }
}

/* sin x to 1e-7 plus a unit in the last place, for |x| < FAST_SINE: x less the nearest multiple of pi, which is subtracted in three
 * parts (Cody & Waite 1980), then a minimax polynomial. */
INLINE float sine(float x)
{
    const float shift = 12582912.0f;
    float shifted = x * 0.318309886f + shift, n = shifted - shift;
    unsigned bits;
    memcpy(&bits, &shifted, sizeof bits);
    float r = x - n * 3.140625f - n * 9.67502593994140625e-4f - n * 1.50995799097e-7f;
    float r2 = r * r, p = 2.60831598e-6f;
    p = p * r2 - 1.98106907e-4f;
    p = p * r2 + 8.33307858e-3f;
    p = p * r2 - 1.66666597e-1f;
    p = p * r2 * r + r;
    unsigned sign = bits << 31, value;
    memcpy(&value, &p, sizeof value);
    value ^= sign; /* sin(r + n pi) = (-1)^n sin r */
    memcpy(&p, &value, sizeof p);
    return p;
}

/* --- sums ----------------------------------------------------------------------------------------------------------------- */

static float sum(long count, const float *x)
{
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (long i = 0; i < count; i++)
        total += x[i];
    return total;
}

static float squared_distance(long count, const float *x, const float *y)
{
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (long i = 0; i < count; i++)
        total += (x[i] - y[i]) * (x[i] - y[i]);
    return total;
}

/* The derivative with respect to the slope of a PReLU, given that with respect to its output. */
static float slope_gradient(long count, const float *z, const float *gradient)
{
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (long i = 0; i < count; i++)
        total += gradient[i] * (z[i] < 0.0f ? z[i] : 0.0f);
    return total;
}

/* The summed loss of errors, which are overwritten by its derivatives times `scale`. */
static float loss_and_derivative(long kind, float scale, long count, float *errors)
{
    float total = 0.0f;
    switch (kind) {
    case MSE:
#pragma omp simd reduction(+ : total)
        for (long i = 0; i < count; i++) {
            total += errors[i] * errors[i];
            errors[i] *= 2.0f * scale;
        }
        break;
    case L1:
#pragma omp simd reduction(+ : total)
        for (long i = 0; i < count; i++) {
            total += fabsf(errors[i]);
            errors[i] = errors[i] > 0.0f ? scale : errors[i] < 0.0f ? -scale : errors[i];
        }
        break;
    case HUBER: /* with its knee at 1 */
#pragma omp simd reduction(+ : total)
        for (long i = 0; i < count; i++) {
            float within = errors[i] > 1.0f ? 1.0f : errors[i] < -1.0f ? -1.0f : errors[i];
            total += within * (errors[i] - 0.5f * within);
            errors[i] = scale * within;
        }
        break;
    }
    return total;
}

/* --- one member ----------------------------------------------------------------------------------------------------------- */

/* The networks of an ensemble: their layers, and how many parameters each member has. */
struct networks {
    long members, size, depth;
    const struct layer *layers;
};

/* The most features that there are between two layers. */
static long widest(const struct networks *nets)
{
    long most = nets->layers[0].inputs;
    for (long l = 0; l < nets->depth; l++)
        most = nets->layers[l].outputs > most ? nets->layers[l].outputs : most;
    return padded(most);
}

/* Floats that one thread needs: inputs and targets, before and after each activation, two gradients of activations, one
 * transposed activation, and the gradient of the parameters. */
long workspace(const struct networks *nets, long batch)
{
    long features = 2 * nets->layers[0].inputs + 3 * widest(nets);
    for (long l = 0; l < nets->depth; l++)
        features += 2 * nets->layers[l].outputs;
    return (features + LANES) * padded(batch) + padded(nets->size);
}

/* Where the activations of one batch are, before (z) and after (y) each activation function; y[0] is the input. */
struct activations {
    float *z[MAX_LAYERS], *y[MAX_LAYERS + 1], *end;
};

static void forward(const struct networks *nets, long batch, const float *parameters, struct activations *at, float *work)
{
    long row = padded(batch);
    for (long l = 0; l < nets->depth; l++) {
        const struct layer *layer = &nets->layers[l];
        long count = layer->outputs * row;
        const float *bias = layer->bias < 0 ? 0 : parameters + layer->bias;
        float slope = layer->slope < 0 ? layer->fixed_slope : parameters[layer->slope];
        product(layer->outputs, row, layer->inputs, parameters + layer->weight, layer->inputs, 1, at->y[l], row, work, row, bias);
        at->z[l] = at->y[l + 1] = work;
        work += count;
        if (layer->activation != IDENTITY) {
            activate(layer->activation, slope, count, at->z[l], work);
            at->y[l + 1] = work;
            work += count;
        }
    }
    at->end = work;
}

/* The mean loss of one member, writing the gradients of its parameters. */
static float backpropagate(const struct networks *nets, long batch, const float *parameters, float *gradients, float *inputs,
                           const float *targets, long loss, float *work)
{
    struct activations at;
    long row = padded(batch), depth = nets->depth, length = nets->layers[depth - 1].outputs, room = widest(nets) * row;
    at.y[0] = inputs;
    forward(nets, batch, parameters, &at, work);
    float *gradient = at.end, *next = gradient + room, *transposed = next + room;
    for (long i = 0; i < length; i++) {
        for (long j = 0; j < batch; j++)
            gradient[i * row + j] = at.y[depth][i * row + j] - targets[i * row + j];
        memset(gradient + i * row + batch, 0, (row - batch) * sizeof(float));
    }
    float total = loss_and_derivative(loss, 1.0f / (length * batch), length * row, gradient);

    for (long l = depth - 1; l >= 0; l--) {
        const struct layer *layer = &nets->layers[l];
        long in = layer->inputs, out = layer->outputs;
        transpose(in, row, at.y[l], row, transposed, padded(in));
        product(out, in, batch, gradient, row, 1, transposed, padded(in), gradients + layer->weight, in, 0);
        for (long i = 0; layer->bias >= 0 && i < out; i++)
            gradients[layer->bias + i] = sum(batch, gradient + i * row);
        if (l == 0)
            break;
        product(in, row, out, parameters + layer->weight, 1, in, gradient, row, next, row, 0);
        const struct layer *before = &nets->layers[l - 1];
        float slope = before->slope < 0 ? before->fixed_slope : parameters[before->slope];
        if (before->slope >= 0)
            gradients[before->slope] = slope_gradient(in * row, at.z[l - 1], next);
        differentiate(before->activation, slope, in * row, at.z[l - 1], at.y[l], next);
        float *used = gradient;
        gradient = next;
        next = used;
    }
    return total / (length * batch);
}

static void adam_step(const struct adam *adam, long size, float *restrict parameters, float *restrict first,
                      float *restrict second, const float *restrict gradients)
{
    const struct adam a = *adam;
    for (long i = 0; i < size; i++) {
        float p = parameters[i] * a.decay, g = gradients[i] + a.penalty * parameters[i];
        first[i] += (1.0f - a.beta1) * (g - first[i]);
        second[i] = a.beta2 * second[i] + (1.0f - a.beta2) * g * g;
        parameters[i] = p - a.step_size * first[i] / (sqrtf(second[i]) * a.root_scale + a.epsilon);
    }
}

/* --- chunks --------------------------------------------------------------------------------------------------------------- */

/* The signals of a chunk: either sinusoids by their parameters, [step, member, batch], on a time grid; or inputs and targets as
 * columns, [step, member, time, batch]. */
struct signals {
    const float *amplitude, *frequency, *phase, *times;
    const float *inputs, *targets;
};

/* What is trained in a chunk. Parameters and moments are [member, parameter], losses [step, member]. */
struct chunk {
    const struct networks *nets;
    struct signals signals;
    long steps, batch, loss;
    const struct adam *adam; /* of each step */
    float *parameters, *first, *second, *losses;
};

static void render(const struct chunk *chunk, long which, float *to)
{
    const struct signals *from = &chunk->signals;
    long batch = chunk->batch, row = padded(batch), length = chunk->nets->layers[0].inputs;
    const float *amplitude = from->amplitude + which * batch, *frequency = from->frequency + which * batch;
    const float *phase = from->phase + which * batch;
    float highest = 0.0f; /* angle; NaN compares false and is left to the fast function, which propagates it */
    for (long j = 0; j < batch; j++) {
        float angle = fabsf(phase[j]) + fabsf(frequency[j] * from->times[length - 1]);
        highest = angle > highest ? angle : highest;
    }
    for (long i = 0; i < length; i++) {
        if (highest < FAST_SINE)
            for (long j = 0; j < batch; j++)
                to[i * row + j] = amplitude[j] * sine(phase[j] + frequency[j] * from->times[i]);
        else
            for (long j = 0; j < batch; j++)
                to[i * row + j] = amplitude[j] * sinf(phase[j] + frequency[j] * from->times[i]);
        memset(to + i * row + batch, 0, (row - batch) * sizeof(float));
    }
}

/* Copies `batch` values of each row into rows of whole vectors, the rest of which is 0. */
static void pad(long rows, long batch, const float *from, long from_row, float *to)
{
    for (long i = 0; i < rows; i++) {
        memcpy(to + i * padded(batch), from + i * from_row, batch * sizeof(float));
        memset(to + i * padded(batch) + batch, 0, (padded(batch) - batch) * sizeof(float));
    }
}

static void train_member(const void *task, long member, long slice, long slices, float *work)
{
    const struct chunk *chunk = task;
    const struct networks *nets = chunk->nets;
    long length = nets->layers[0].inputs, values = length * padded(chunk->batch);
    float *inputs = work, *targets = inputs + values, *gradients = targets + values;
    float *parameters = chunk->parameters + member * nets->size;
    work = gradients + padded(nets->size);
    for (long step = slice * chunk->steps / slices; step < (slice + 1) * chunk->steps / slices; step++) {
        long which = step * nets->members + member;
        if (chunk->signals.amplitude)
            render(chunk, which, inputs);
        else
            pad(length, chunk->batch, chunk->signals.inputs + which * length * chunk->batch, chunk->batch, inputs);
        int same = chunk->signals.amplitude || chunk->signals.targets == chunk->signals.inputs;
        if (!same)
            pad(length, chunk->batch, chunk->signals.targets + which * length * chunk->batch, chunk->batch, targets);
        chunk->losses[which] = backpropagate(nets, chunk->batch, parameters, gradients, inputs, same ? inputs : targets,
                                             chunk->loss, work);
        adam_step(&chunk->adam[step], nets->size, parameters, chunk->first + member * nets->size,
                  chunk->second + member * nets->size, gradients);
    }
}

/* One batch of each member: its loss and gradients without a step, for optimisers that are not here. */
struct batch {
    const struct networks *nets;
    long batch, loss;
    const float *parameters, *inputs, *targets; /* inputs and targets: [member, time, batch] */
    float *gradients, *losses;
};

static void differentiate_member(const void *task, long member, long slice, long slices, float *work)
{
    const struct batch *all = task;
    const struct networks *nets = all->nets;
    long length = nets->layers[0].inputs, values = length * padded(all->batch), place = member * length * all->batch;
    pad(length, all->batch, all->inputs + place, all->batch, work);
    pad(length, all->batch, all->targets + place, all->batch, work + values);
    all->losses[member] = backpropagate(nets, all->batch, all->parameters + member * nets->size,
                                        all->gradients + member * nets->size, work, work + values, all->loss,
                                        work + 2 * values);
}

/* The evaluation of signals that all members are given, as columns [time, count]: the reconstructions, [member, time, count], unless
 * it is null; and the squared errors of each member, summed, unless that is null. `block` signals at a time stay in the cache. */
struct evaluation {
    const struct networks *nets;
    long count, block;
    const float *parameters, *inputs, *targets;
    float *outputs;
    double *errors;
};

static void evaluate_member(const void *task, long member, long slice, long slices, float *work)
{
    const struct evaluation *all = task;
    const struct networks *nets = all->nets;
    long length = nets->layers[0].inputs, out = nets->layers[nets->depth - 1].outputs;
    double total = 0.0;
    for (long first = 0; first < all->count; first += all->block) {
        long batch = all->count - first < all->block ? all->count - first : all->block, row = padded(batch);
        struct activations at = {.y = {work}};
        pad(length, batch, all->inputs + first, all->count, work);
        forward(nets, batch, all->parameters + member * nets->size, &at, work + length * row);
        for (long i = 0; i < out; i++) {
            const float *result = at.y[nets->depth] + i * row;
            if (all->outputs)
                memcpy(all->outputs + (member * out + i) * all->count + first, result, batch * sizeof(float));
            if (all->errors)
                total += squared_distance(batch, result, all->targets + i * all->count + first);
        }
    }
    if (all->errors)
        all->errors[member] = total;
}

/* --- threads -------------------------------------------------------------------------------------------------------------- */

typedef void work_of_member(const void *task, long member, long slice, long slices, float *work);

/* The work of each member in slices, of which threads take one after another, whichever is free: the first ones of all members, then
 * the second ones. A slice begins where the one before it ends, so `done` counts those of each member. */
struct queue {
    work_of_member *function;
    const void *task;
    long members, slices, room, next, threads, done[MOST_SLICED * MAX_THREADS];
    float *work;
    pthread_mutex_t lock;
    pthread_cond_t finished;
};

static void *take_slices(void *shared)
{
    struct queue *queue = shared;
    pthread_mutex_lock(&queue->lock);
    float *work = queue->work + queue->threads++ * queue->room;
    while (queue->next < queue->members * queue->slices) {
        long member = queue->next % queue->members, slice = queue->next++ / queue->members;
        while (slice && queue->done[member] < slice)
            pthread_cond_wait(&queue->finished, &queue->lock);
        pthread_mutex_unlock(&queue->lock);
        queue->function(queue->task, member, slice, queue->slices, work);
        pthread_mutex_lock(&queue->lock);
        if (queue->slices > 1) {
            queue->done[member]++;
            pthread_cond_broadcast(&queue->finished);
        }
    }
    pthread_mutex_unlock(&queue->lock);
    return 0;
}

/* `steps` is how many parts the work of a member can be divided into. It is, into as many as there are threads, where otherwise some
 * of them would wait for those that have a member more. */
static void for_each_member(work_of_member *function, const void *task, const struct networks *nets, long batch, float *work,
                            long threads, long steps)
{
    pthread_t others[MAX_THREADS];
    long started = 0;
    threads = threads < MAX_THREADS ? threads : MAX_THREADS;
    int uneven = nets->members % threads && nets->members < MOST_SLICED * threads && steps >= threads;
    struct queue queue = {.function = function, .task = task, .members = nets->members, .slices = uneven ? threads : 1,
                          .room = workspace(nets, batch), .work = work, .lock = PTHREAD_MUTEX_INITIALIZER,
                          .finished = PTHREAD_COND_INITIALIZER};
    while (started < threads - 1 && !pthread_create(&others[started], 0, take_slices, &queue))
        started++; /* where no more can be started, fewer do the work */
    take_slices(&queue);
    for (long i = 0; i < started; i++)
        pthread_join(others[i], 0);
}

/* --- what compiled.py calls; `work` is workspace() floats for each thread ---------------------------------------------------- */

void train(const struct chunk *chunk, float *work, long threads)
{
    for_each_member(train_member, chunk, chunk->nets, chunk->batch, work, threads, chunk->steps);
}

void loss_and_gradients(const struct networks *nets, long batch, long loss, const float *parameters, float *gradients,
                        const float *inputs, const float *targets, float *losses, float *work, long threads)
{
    struct batch task = {nets, batch, loss, parameters, inputs, targets, gradients, losses};
    for_each_member(differentiate_member, &task, nets, batch, work, threads, 1);
}

void evaluate(const struct evaluation *evaluation, float *work, long threads)
{
    for_each_member(evaluate_member, evaluation, evaluation->nets, evaluation->block, work, threads, 1);
}

/* The sine of many angles, for the tests. */
void sines(long count, const float *angles, float *values)
{
    for (long i = 0; i < count; i++)
        values[i] = fabsf(angles[i]) < FAST_SINE ? sine(angles[i]) : sinf(angles[i]);
}
