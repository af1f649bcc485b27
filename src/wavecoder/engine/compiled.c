/* The loss of an ensemble of fully connected autoencoders and its gradient on a CPU, in one call. PyTorch's operators cost more
 * than the arithmetic of networks this small, and pass megabytes through memory from one to the next; here each core takes one
 * member after another, whose activations stay in the core's own cache.
 *
 * Matrices are stored row by row. Activations are [feature, batch], with rows padded to whole vectors.
 */

#include <math.h>
#include <omp.h>
#include <string.h>

#if defined(__AVX512F__)
#define LANES 16
#elif defined(__AVX__)
#define LANES 8
#else
#define LANES 4
#endif
#define ROWS 6 /* of a tile: as many vectors as registers hold, with some to spare */
#define INLINE static inline __attribute__((always_inline))

typedef float vector __attribute__((vector_size(4 * LANES), aligned(4)));

const char source_sha256[] = SOURCE_SHA256; /* compiled.py loads no library that was built from another version of this file */

/* In the order of ACTIVATIONS and LOSSES in compiled.py. */
enum activation { IDENTITY, RELU, SIGMOID, TANH, LEAKY_RELU, PRELU, GELU };
enum loss { MSE, L1, HUBER };

/* One affine layer and the activation after it. Where its parameters begin is counted in floats from the first parameter of a
 * member: weights [outputs, inputs], biases [outputs], the slope of a PReLU; -1 stands for none. */
struct layer {
    long inputs, outputs, activation, weight, bias, slope;
    float fixed_slope; /* of a leaky ReLU */
};

/* --- products of small matrices ------------------------------------------------------------------------------------------- */

/* rows x LANES values of C = A B + bias, of which `columns` are stored; A(i, k) = a[i * a_row + k * a_column]. */
INLINE void tile(int rows, long columns, long depth, const float *a, long a_row, long a_column, const float *b, long b_row,
                 float *c, long c_row, const float *bias)
{
    vector sums[ROWS];
    for (int i = 0; i < rows; i++)
        sums[i] = (vector){0} + (bias ? bias[i] : 0.0f);
    for (long k = 0; k < depth; k++) {
        vector right = *(const vector *)(b + k * b_row);
        for (int i = 0; i < rows; i++)
            sums[i] += a[i * a_row + k * a_column] * right;
    }
    for (int i = 0; i < rows; i++) {
        if (columns >= LANES)
            *(vector *)(c + i * c_row) = sums[i];
        else
            memcpy(c + i * c_row, &sums[i], columns * sizeof(float));
    }
}

/* C = A B + bias, with C m x n; B is read in whole vectors. */
static void product(long m, long n, long depth, const float *a, long a_row, long a_column, const float *b, long b_row, float *c,
                    long c_row, const float *bias)
{
#define TILE(rows)                                                                                                              \
    case rows:                                                                                                                  \
        tile(rows, n - j, depth, a + i * a_row, a_row, a_column, b + j, b_row, c + i * c_row + j, c_row, bias ? bias + i : 0);  \
        break;
    for (long j = 0; j < n; j += LANES)
        for (long i = 0; i < m; i += ROWS)
            switch (m - i) { /* a known number of rows, so that their sums stay in registers */
                TILE(1) TILE(2) TILE(3) TILE(4) TILE(5)
            default:
                tile(ROWS, n - j, depth, a + i * a_row, a_row, a_column, b + j, b_row, c + i * c_row + j, c_row,
                     bias ? bias + i : 0);
            }
#undef TILE
}

static void transpose(long m, long n, const float *a, long a_row, float *b, long b_row)
{
    for (long j = 0; j < n; j++)
        for (long i = 0; i < m; i++)
            b[j * b_row + i] = a[i * a_row + j];
}

/* --- activations ---------------------------------------------------------------------------------------------------------- */

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

/* --- sums ----------------------------------------------------------------------------------------------------------------- */

static float sum(long count, const float *x)
{
    float total = 0.0f;
#pragma omp simd reduction(+ : total)
    for (long i = 0; i < count; i++)
        total += x[i];
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

static long padded(long count)
{
    return (count + LANES - 1) / LANES * LANES;
}

/* Copies rows of `batch` values into rows of whole vectors, the rest of which is 0. */
static void pad(long rows, long batch, const float *from, float *to)
{
    for (long i = 0; i < rows; i++) {
        memcpy(to + i * padded(batch), from + i * batch, batch * sizeof(float));
        memset(to + i * padded(batch) + batch, 0, (padded(batch) - batch) * sizeof(float));
    }
}

/* The most features that there are between two layers, padded because one of the uses is transposed. */
static long widest(long depth, const struct layer *layers)
{
    long most = layers[0].inputs;
    for (long l = 0; l < depth; l++)
        most = layers[l].outputs > most ? layers[l].outputs : most;
    return padded(most);
}

/* Floats that one thread needs: the input, before and after each activation, two gradients, and one transposed activation. */
long workspace(long depth, const struct layer *layers, long batch)
{
    long features = layers[0].inputs + 3 * widest(depth, layers);
    for (long l = 0; l < depth; l++)
        features += 2 * layers[l].outputs;
    return features * padded(batch);
}

/* The mean loss of one member, writing its gradients. */
static float backpropagate(long batch, long depth, const struct layer *layers, const float *parameters, float *gradients,
                           const float *inputs, const float *targets, long loss, float *work)
{
    long row = padded(batch);
    const float *z[depth], *y[depth + 1]; /* before and after each activation; y[0] is the input */
    float slopes[depth];

    pad(layers[0].inputs, batch, inputs, work);
    y[0] = work;
    work += layers[0].inputs * row;
    for (long l = 0; l < depth; l++) {
        const struct layer *layer = &layers[l];
        long count = layer->outputs * row;
        slopes[l] = layer->slope < 0 ? layer->fixed_slope : parameters[layer->slope];
        const float *bias = layer->bias < 0 ? 0 : parameters + layer->bias;
        product(layer->outputs, row, layer->inputs, parameters + layer->weight, layer->inputs, 1, y[l], row, work, row, bias);
        z[l] = y[l + 1] = work;
        work += count;
        if (layer->activation != IDENTITY) {
            activate(layer->activation, slopes[l], count, z[l], work);
            y[l + 1] = work;
            work += count;
        }
    }

    long length = layers[depth - 1].outputs, room = widest(depth, layers) * row;
    float *gradient = work, *next = gradient + room, *transposed = next + room;
    for (long i = 0; i < length; i++) {
        for (long j = 0; j < batch; j++)
            gradient[i * row + j] = y[depth][i * row + j] - targets[i * batch + j];
        memset(gradient + i * row + batch, 0, (row - batch) * sizeof(float));
    }
    float total = loss_and_derivative(loss, 1.0f / (length * batch), length * row, gradient);

    for (long l = depth - 1; l >= 0; l--) {
        const struct layer *layer = &layers[l];
        long in = layer->inputs, out = layer->outputs;
        transpose(in, batch, y[l], row, transposed, padded(in));
        product(out, in, batch, gradient, row, 1, transposed, padded(in), gradients + layer->weight, in, 0);
        for (long i = 0; layer->bias >= 0 && i < out; i++)
            gradients[layer->bias + i] = sum(batch, gradient + i * row);
        if (l == 0)
            break;
        product(in, row, out, parameters + layer->weight, 1, in, gradient, row, next, row, 0);
        const struct layer *before = &layers[l - 1];
        if (before->slope >= 0)
            gradients[before->slope] = slope_gradient(in * row, z[l - 1], next);
        differentiate(before->activation, slopes[l - 1], in * row, z[l - 1], y[l], next);
        float *used = gradient;
        gradient = next;
        next = used;
    }
    return total / (length * batch);
}

/* The mean loss of each member, writing the gradients of all parameters.
 *
 * parameters, gradients: [member, parameter], `size` of them for each; inputs, targets: [member, time, batch]; work: workspace()
 * floats for each thread. */
void loss_and_gradients(long members, long size, long batch, long depth, const struct layer *layers, const float *parameters,
                        float *gradients, const float *inputs, const float *targets, long loss, float *losses, float *work,
                        long threads)
{
    long signals = layers[0].inputs * batch, room = workspace(depth, layers, batch);
#pragma omp parallel for num_threads(threads) schedule(static) if (members > 1)
    for (long m = 0; m < members; m++)
        losses[m] = backpropagate(batch, depth, layers, parameters + m * size, gradients + m * size, inputs + m * signals,
                                  targets + m * signals, loss, work + omp_get_thread_num() * room);
}
