/* The base of a forecast, a row at a time: the numbers of the modules beside this folder, which are the reference.
 *
 * Each part is named after its module: bank, ridge, preference, linear memory, spread, bounds. A state is the tensors of a
 * BaseCarry, float64. No memory is kept between calls, no thread is started, and nothing is global, so that calls may run
 * side by side and processes may fork.
 */

#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* One binary serves old and new processors: the loader takes the fastest copy of these functions. */
#if defined(__GNUC__) && !defined(__clang__) && defined(__x86_64__) && defined(__GLIBC__)
#define MANY_PROCESSORS __attribute__((target_clones("avx512f", "avx2,fma", "default")))
#else
#define MANY_PROCESSORS
#endif
#if defined(_WIN32)
#define EXPORTED __declspec(dllexport)
#else
#define EXPORTED __attribute__((visibility("default")))
#endif

enum { PARTS = 31, SPEC = 8, BLOCK = 5, VERSION = 2 };
enum { RENEWED = 64 }; /* rows after which running sums of a season are summed anew, so that rounding does not add up */

/* What a base is; facts.py lists the same fields in the same order. */
typedef struct {
    int64_t season, forms, judged, thetas, smoothers, kept_levels, names, long_level, level_count;
    int64_t ridges, specs, candidates, prefers, heard_steps, waits;
    int64_t features, lookback, blocks, answers, directions, memory_waits;
    int64_t patch, horizon, blocks_heard, tracked_each, spread_waits, phases, ages, misses, bounded;
    double forgetting, faith, keep_size, alike, flattest, smallest, no_season, full_season;
    double constant, farthest_log, spread_floor;
    double pace, largest, preference_fade;
    double decay, memory_fade, begun, largest_error, largest_key, least_seen, least_spread, most_spread;
    double spread_pace, fade, doubt, largest_heard, most_factor, smallest_size, often, fewest;
    const int64_t *places, *levels, *name, *spec, *first_ridge, *steps, *block, *tracked, *delays;
    const double *gain, *lift, *keep, *errors, *settled, *values, *vectors, *inverse;
    const double *ridge_weights, *mixing, *answer, *mean, *whitening, *directions_at, *prior, *memory_pace, *worth, *share;
    const double *weights, *usual, *typical, *profile, *shares, *middle, *widths, *young, *missed;
} Facts;

/* One stream's state, and what a call knows of its rows. */
typedef struct {
    double *age, *last, *range, *steps, *total, *moment, *profile, *squares, *smoothers, *losses, *errors;
    double *slopes, *expected, *sizes;
    double *gram, *crosses, *lost, *keys, *thought, *said, *units;
    double *waiting, *logs, *levels, *level, *by_phase, *factors;
    double *extremes, *touched, *heard;
    const double *rows, *actual; /* t */
    double *known;               /* context + t */
    double *filled;              /* d (m + t) */
    double sums[2];              /* of the season before the next row */
    double zero, least;
    int64_t context, t;
} Stream;

/* What is seen from one origin. */
typedef struct {
    double *last, *profiles; /* m, d m */
    double levels[8], size, theta[4], damped[6], used, raw_zero, most, age;
} Seen;

static double larger(double a, double b) { return a > b ? a : b; }
static double smaller(double a, double b) { return a < b ? a : b; }
static int64_t modulo(int64_t a, int64_t m) { return ((a % m) + m) % m; }

MANY_PROCESSORS static double dot(const double *a, const double *b, int64_t n) {
    double found = 0.0;
#pragma omp simd reduction(+ : found)
    for (int64_t i = 0; i < n; i++) found += a[i] * b[i];
    return found;
}

/* --- bank ------------------------------------------------------------------------------------------------------------- */

/* Update every smoother by a row, and sum its one-step errors. */
MANY_PROCESSORS static void smooth(const Facts *f, double now, double *smoothers, double *losses, double *errors) {
    int64_t count = f->smoothers, m = f->season;
    for (int64_t a = 0; a < count; a++) {
        double trend = f->keep[a] * smoothers[2 * a + 1], ahead = smoothers[2 * a] + trend, error = now - ahead;
        smoothers[2 * a] = ahead + f->gain[a] * error;
        smoothers[2 * a + 1] = trend + f->lift[a] * error;
        if (f->judged) {
            losses[a] += error * error;
            errors[a * m] += error;
        }
    }
}

static void read_row(const Facts *f, Stream *x, int64_t i) {
    int64_t m = f->season, length = m + x->t, phase = i % m, wide = m + 1 - m % 2;
    double age = x->age[0], value = x->rows[i], keep = f->keep_size, *filled = x->filled;
    int missing = isnan(value);
    if (missing && age == 0) return;
    if (missing) value = age >= m ? filled[i] : filled[m + i - 1];
    int far = !missing && age >= m, near = !missing && age >= 1;
    x->steps[0] = keep * x->steps[0] + (far ? fabs(value - filled[i]) : 0.0);
    x->steps[1] = keep * x->steps[1] + far;
    x->steps[2] = keep * x->steps[2] + (near ? fabs(value - filled[m + i - 1]) : 0.0);
    x->steps[3] = keep * x->steps[3] + near;
    double keep_squares = f->forgetting == 1 ? 1.0 : pow(f->forgetting, 1.0 / (double)m);
    for (int64_t d = 0; d < f->forms; d++) {
        double *row = filled + d * length, now = d ? log(larger(value + x->zero, f->smallest)) : value, detrended = 0.0;
        row[m + i] = now;
        x->total[d] += now;
        x->moment[d] += now * age;
        if (m > 1) {
            if (i % RENEWED == 0 || age == 0) {
                x->sums[d] = 0.0;
                for (int64_t j = i; j < i + m; j++) x->sums[d] += row[j];
            }
            double before = x->sums[d];
            x->sums[d] += now - row[i];
            if (age >= wide - 1) {
                double sum = m % 2 ? x->sums[d] : (x->sums[d] + before) / 2;
                detrended = row[m - m / 2 + i] - sum / m;
            }
        }
        x->profile[d * m + phase] = f->forgetting * x->profile[d * m + phase] + detrended;
        x->squares[d] = keep_squares * x->squares[d] + detrended * detrended;
        double *smoothers = x->smoothers + 2 * d * f->smoothers;
        if (age == 0) {
            for (int64_t a = 0; a < f->smoothers; a++) smoothers[2 * a] = now, smoothers[2 * a + 1] = 0.0;
        } else {
            smooth(f, now, smoothers, x->losses + d * f->smoothers, x->errors + d * f->smoothers * m + phase);
        }
    }
    if (age == 0) {
        x->range[0] = x->range[1] = value;
    } else {
        x->range[0] = smaller(x->range[0], value);
        x->range[1] = larger(x->range[1], value);
    }
    x->age[0] = age + 1;
}

/* Turn sums by phase so that they begin with a later phase. */
static void turn(double *sums, int64_t count, int64_t m, int64_t by, double *room) {
    by %= m;
    if (!by) return;
    for (int64_t i = 0; i < count; i++, sums += m) {
        memcpy(room, sums, sizeof(double) * m);
        memcpy(sums, room + by, sizeof(double) * (m - by));
        memcpy(sums + m - by, room, sizeof(double) * by);
    }
}

/* Write the profile of one form, shrunk to 0 where the phases do not differ. */
static void look_at_profile(const Facts *f, double age, int64_t i, const double *sums, double squares, double *into, double *room) {
    int64_t m = f->season;
    double known = larger(age - (double)(m - m % 2), 0.0), *means = room, *counts = room + m;
    double total = 0, weighed = 0, inside = 0, middle = 0, among = 0, share = 0;
    memset(into, 0, sizeof(double) * m);
    if (m == 1 || known <= m) return;
    for (int64_t j = 0; j < m; j++) {
        counts[j] = (1 - pow(f->forgetting, floor((known + j) / m))) / (1 - f->forgetting);
        means[j] = counts[j] > 0 ? sums[(i + j) % m] / larger(counts[j], 1.0) : 0.0;
        total += counts[j];
        weighed += counts[j] * means[j];
        inside += counts[j] * means[j] * means[j];
        middle += means[j] / m;
    }
    for (int64_t j = 0; j < m; j++) {
        double off = means[j] - weighed / larger(total, 1.0);
        among += counts[j] * off * off;
    }
    double within = larger(squares - inside, 1e-12 * squares), free_ones = total - m;
    if (free_ones != 0 && within != 0) {
        double ratio = (among / (m - 1)) / (within / free_ones);
        share = smaller(larger((ratio - f->no_season) / (f->full_season - f->no_season), 0.0), 1.0);
    }
    for (int64_t j = 0; j < m; j++) into[j] = (means[(j + m / 2) % m] - middle) * share;
}

/* Write level and trend of a smoother less what they have of the profile after n rows. */
static void without_profile(
    const Facts *f, int64_t k, const double *smoother, int flat, int64_t oldest, double n, const double *profile, double *into
) {
    int64_t m = f->season;
    into[0] = smoother[0], into[1] = smoother[1];
    if (flat) return;
    const double *answers = f->settled + k * m * 2 * m;
    double left[2];
    for (int c = 0; c < 2; c++) {
        into[c] -= dot(answers + ((m - 1) * 2 + c) * m, profile, m);
        left[c] = -dot(answers + (oldest * 2 + c) * m, profile, m);
    }
    left[0] += profile[oldest];
    for (int c = 0; c < 2; c++) { /* powers of the moves, complex numbers as pairs */
        const double *value = f->values + (k * 2 + c) * 2, *inverse = f->inverse + ((k * 2 + c) * 2) * 2;
        double length = pow(hypot(value[0], value[1]), n - 1), angle = (n - 1) * atan2(value[1], value[0]);
        double power[2] = {length * cos(angle), length * sin(angle)};
        double there[2] = {inverse[0] * left[0] + inverse[2] * left[1], inverse[1] * left[0] + inverse[3] * left[1]};
        double fading[2] = {power[0] * there[0] - power[1] * there[1], power[0] * there[1] + power[1] * there[0]};
        for (int e = 0; e < 2; e++) {
            const double *vector = f->vectors + ((k * 2 + e) * 2 + c) * 2;
            into[e] -= vector[0] * fading[0] - vector[1] * fading[1];
        }
    }
}

static int64_t least_of(const double *losses, int64_t start, int64_t stop, double near) {
    double least = INFINITY;
    for (int64_t k = start; k < stop; k++) least = smaller(least, losses[k]);
    for (int64_t k = start; k < stop; k++)
        if (losses[k] <= least + near) return k;
    return start;
}

/* Write theta's level and half trend, and the damped level, trend and keep, of one form. */
static void choose(const Facts *f, const Stream *x, int64_t i, int64_t form, Seen *seen, double *room) {
    int64_t m = f->season, count = f->smoothers, first = f->long_level, second = count - 1;
    double age = x->age[0], n = larger(age, 1.0), *profile = seen->profiles + form * m;
    int64_t oldest = modulo(-(int64_t)age, m);
    int flat = 1;
    for (int64_t j = 0; j < m; j++) flat = flat && profile[j] == 0;
    if (f->judged) {
        const double *kept = x->losses + form * count, *errors = x->errors + form * count * m;
        double *losses = room, most = -INFINITY;
        for (int64_t k = 0; k < count; k++) {
            losses[k] = kept[k];
            most = larger(most, kept[k]);
        }
        for (int64_t k = 0; k < count && !flat; k++)
            for (int64_t q = 0; q < m; q++) {
                double later = larger(floor((age + q) / m) - (q == oldest), 0.0);
                double seasonal = dot(f->errors + (k * m + q) * m, profile, m);
                losses[k] += seasonal * (later * seasonal - 2 * errors[k * m + (i + q) % m]);
            }
        first = least_of(losses, 0, f->thetas, most * f->alike);
        second = f->thetas < count ? least_of(losses, f->thetas, count, most * f->alike) : 0;
    }
    double lever = x->moment[form] - (n - 1) / 2 * x->total[form];
    for (int64_t q = 0; q < m && !flat; q++) {
        double rows = floor((age + q) / m), turns = rows * (age - m + q) - m * rows * (rows - 1) / 2;
        lever -= (turns - (n - 1) / 2 * rows) * profile[q];
    }
    double half = n > 2 ? lever * 6 / (n * larger(n * n - 1, 1.0)) : 0.0, gain = f->gain[first], found[2];
    int begun = age > 0;
    const double *smoothers = x->smoothers + 2 * form * count;
    without_profile(f, first, smoothers + 2 * first, flat, oldest, n, profile, found);
    seen->theta[2 * form] = begun ? found[0] + half * (1 - pow(1 - gain, n)) / gain : 0.0;
    seen->theta[2 * form + 1] = begun ? half : 0.0;
    without_profile(f, second, smoothers + 2 * second, flat, oldest, n, profile, found);
    seen->damped[3 * form] = begun ? found[0] : 0.0;
    seen->damped[3 * form + 1] = begun ? found[1] : 0.0;
    seen->damped[3 * form + 2] = f->keep[second];
}

/* See what forecasts after i rows of a call need. */
static void look(const Facts *f, const Stream *x, int64_t i, Seen *seen, double *room) {
    int64_t m = f->season;
    double age = x->age[0], newest = age > 0 ? x->filled[m + i - 1] : 0.0;
    for (int64_t j = 0; j < m; j++) seen->last[j] = j >= m - age ? x->filled[i + j] : newest;
    for (int64_t d = 0; d < f->forms; d++)
        look_at_profile(f, age, i, x->profile + d * m, x->squares[d], seen->profiles + d * m, room);
    double young = f->faith != 0 && age >= m ? smaller(larger(3 - age / m, 0.0), 1.0) : 0.0;
    if (young > 0) {
        double middle = 0;
        for (int64_t j = 0; j < m; j++) middle += seen->last[j] / m;
        for (int64_t j = 0; j < f->forms * m; j++)
            seen->profiles[j] += young * (f->faith * (seen->last[j % m] - middle) - seen->profiles[j]);
    }
    const double *s = x->steps;
    seen->size = larger(s[1] > 0 ? s[0] / s[1] : s[3] > 0 ? s[2] / s[3] : 1.0, f->smallest);
    for (int64_t j = 0; j < f->kept_levels; j++) seen->levels[j] = x->smoothers[2 * f->levels[j]];
    for (int64_t d = 0; d < f->forms; d++) choose(f, x, i, d, seen, room);
    seen->used = age > 0 && x->range[0] + x->zero > f->smallest && fabs(x->zero) < f->flattest && f->forms == 2;
    seen->raw_zero = -x->zero;
    seen->most = log(larger(x->range[1] + x->zero, f->smallest)) + 3;
    seen->age = age;
}

/* --- candidates ------------------------------------------------------------------------------------------------------- */

enum { NAIVE, SEASONAL_NAIVE, THETA, THETA_LOG, DRIFT, DRIFT_LOG, DAMPED, DAMPED_LOG };

static void of_bank(const Facts *f, int64_t name, const Seen *seen, double *into) {
    int64_t m = f->season, form = name > SEASONAL_NAIVE && name % 2 && seen->used > 0;
    double keep = seen->damped[3 * form + 2], left = 1.0;
    for (int64_t j = 0; j < f->horizon; j++) {
        if (name <= SEASONAL_NAIVE) {
            into[j] = seen->last[name == NAIVE ? m - 1 : j % m];
            continue;
        }
        double value = seen->theta[2 * form] + seen->theta[2 * form + 1] * (name >= DRIFT ? 2 : 1) * (double)j;
        if (name >= DAMPED) {
            left *= keep;
            value = seen->damped[3 * form] + seen->damped[3 * form + 1] * keep * (1 - left) / (1 - keep);
        }
        value += seen->profiles[form * m + j % m];
        into[j] = form ? exp(smaller(value, seen->most)) + seen->raw_zero : value;
    }
}

/* Fill gaps of a window by the row before, in front by its first row, put levels beside it, and centre both. */
static void on_level(const Facts *f, double *inputs, int64_t longest, int logs, int asked, const Seen *seen, double *centre, double *unit) {
    double before = 0.0;
    for (int64_t j = 0; j < longest; j++)
        if (!isnan(inputs[j])) {
            before = inputs[j];
            break;
        }
    *unit = seen->size;
    if (logs) *unit = seen->size / larger(seen->levels[f->level_count / 2] - seen->raw_zero, 1e-12);
    if (asked) *unit = larger(*unit, 1e-9);
    int64_t width = longest + f->level_count;
    for (int64_t j = 0; j < width; j++) {
        double value = j < longest ? (isnan(inputs[j]) ? before : inputs[j]) : seen->levels[j - longest];
        before = value;
        inputs[j] = logs ? log(larger(value - seen->raw_zero, 1e-9)) : value;
    }
    *centre = (inputs[longest - 1] + inputs[longest + f->level_count / 2]) / 2;
    for (int64_t j = 0; j < width; j++) inputs[j] = (inputs[j] - *centre) / *unit;
    inputs[width] = f->constant;
}

/* Centre a window on its mean, in units of its spread; what is missing counts as the mean. */
MANY_PROCESSORS static void on_mean(const Facts *f, double *inputs, int64_t longest, double *centre, double *unit) {
    double sum = 0, squares = 0;
    int64_t count = 0;
#pragma omp simd reduction(+ : sum, count)
    for (int64_t j = 0; j < longest; j++) {
        int there = inputs[j] == inputs[j];
        count += there;
        sum += there ? inputs[j] : 0.0;
    }
    sum /= larger((double)count, 1.0);
#pragma omp simd reduction(+ : squares)
    for (int64_t j = 0; j < longest; j++) {
        inputs[j] = inputs[j] == inputs[j] ? inputs[j] - sum : 0.0;
        squares += inputs[j] * inputs[j];
    }
    *centre = sum;
    *unit = larger(count > 1 ? sqrt(squares / (double)count) : 1.0, f->spread_floor);
    for (int64_t j = 0; j < longest; j++) inputs[j] /= *unit;
}

static void of_ridge(const Facts *f, const int64_t *spec, const double *end, int64_t before, int64_t stream, const Seen *seen, double *into, double *inputs) {
    int64_t at = spec[0], groups = spec[1], width = spec[2], longest = spec[3], m = f->season, horizon = f->horizon;
    int level = (int)spec[4], profile = (int)spec[5], asked = (int)spec[6], logs = asked && seen->used > 0;
    double centre, unit;
    for (int64_t j = 0; j < longest; j++) {
        inputs[j] = longest - j <= before ? end[j - longest] : NAN;
        if (profile) inputs[j] -= seen->profiles[modulo(j - longest, m)];
    }
    if (level) on_level(f, inputs, longest, logs, asked, seen, &centre, &unit);
    else on_mean(f, inputs, longest, &centre, &unit);
    const double *weights = f->ridge_weights + at + (stream % groups) * horizon * width;
    double most = smaller(seen->most, centre + f->farthest_log);
    for (int64_t j = 0; j < horizon; j++) {
        double value = dot(weights + j * width, inputs, width) * unit + centre;
        if (profile) value += seen->profiles[j % m];
        into[j] = logs ? exp(smaller(value, most)) + seen->raw_zero : value;
    }
}

/* Write what each candidate foretells after ``end``, k f. */
static void foretell(const Facts *f, const Stream *x, int64_t i, int64_t stream, const Seen *seen, double *found, double *room) {
    for (int64_t k = 0; k < f->names; k++) of_bank(f, f->name[k], seen, found + k * f->horizon);
    for (int64_t k = 0; k < f->ridges; k++) {
        const int64_t *spec = f->spec + f->first_ridge[k] * SPEC;
        while (seen->age < spec[3] && spec[7] >= 0) spec = f->spec + spec[7] * SPEC;
        int64_t end = x->context + i;
        of_ridge(f, spec, x->known + end, end, stream, seen, found + (f->names + k) * f->horizon, room);
    }
}

/* --- preference ------------------------------------------------------------------------------------------------------- */

static void tilt(const Facts *f, const double *slopes, double *into) {
    double most = -INFINITY;
    for (int64_t k = 0; k < f->candidates; k++) most = larger(most, -f->pace * slopes[k]);
    for (int64_t k = 0; k < f->candidates; k++) into[k] = exp(-f->pace * slopes[k] - most);
}

/* Mix candidates as a stream prefers. */
static void mix(const Facts *f, const double *found, const double *slopes, double *point, double *room) {
    int64_t horizon = f->horizon;
    int moves = f->prefers && f->pace != 0;
    memset(point, 0, sizeof(double) * horizon);
    if (moves) tilt(f, slopes, room);
    for (int64_t k = 0; k < f->candidates && !moves; k++) {
        int used = (int)f->prefers;
        for (int64_t j = 0; j < horizon; j++) used = used || f->mixing[k * horizon + j] > 0;
        for (int64_t j = 0; j < horizon && used; j++) point[j] += found[k * horizon + j] * f->mixing[k * horizon + j];
    }
    for (int64_t j = 0; j < horizon && moves; j++) {
        double total = 0, value = 0;
        for (int64_t k = 0; k < f->candidates; k++) {
            double weight = f->mixing[k * horizon + j] * room[k];
            total += weight;
            value += weight * found[k * horizon + j];
        }
        point[j] = value / larger(total, 1e-300);
    }
}

/* Hear at a boundary what has become known, and keep what the candidates expect there. */
static void hear_preference(const Facts *f, Stream *x, int64_t end, const double *found, double size, double *room) {
    int64_t count = f->candidates, steps = f->heard_steps, horizon = f->horizon, waits = f->waits, heard = 0;
    double unit = x->sizes[0], *tilted = room, *slopes = room + count, *error = room + 2 * count, *weight = room + 3 * count;
    memset(slopes, 0, sizeof(double) * count);
    for (int64_t k = 0; k < count; k++) tilted[k] = 1.0;
    if (f->pace != 0) tilt(f, x->slopes, tilted);
    for (int pass = 0; pass < 2; pass++)
        for (int64_t j = 0; j < steps; j++) {
            int64_t place = end - waits * f->patch + f->steps[j] - 1;
            if (!(unit > 0) || place < 0 || isnan(x->known[place])) continue;
            if (!pass) {
                heard++;
                continue;
            }
            double total = 0, missed = 0, middle = 0;
            for (int64_t k = 0; k < count; k++) {
                double off = (x->expected[k * steps + j] - x->known[place]) / unit;
                error[k] = smaller(larger(off, -f->largest), f->largest);
                weight[k] = f->mixing[k * horizon + f->steps[j] - 1] * tilted[k];
                total += weight[k];
            }
            for (int64_t k = 0; k < count; k++) {
                if (f->pace != 0) weight[k] /= larger(total, 1e-300);
                missed += error[k] * weight[k];
            }
            double side = missed > 0 ? 1.0 : missed < 0 ? -1.0 : 0.0;
            for (int64_t k = 0; k < count; k++) middle += error[k] * side * weight[k];
            for (int64_t k = 0; k < count; k++) slopes[k] += (error[k] * side - middle) / (double)heard;
        }
    int known = size > 0;
    for (int64_t k = 0; k < count; k++) {
        x->slopes[k] = f->preference_fade * x->slopes[k] + slopes[k];
        for (int64_t j = 0; j < steps; j++) known = known && isfinite(found[k * horizon + f->steps[j] - 1]);
    }
    memmove(x->expected, x->expected + count * steps, sizeof(double) * (waits - 1) * count * steps);
    memmove(x->sizes, x->sizes + 1, sizeof(double) * (waits - 1));
    x->sizes[waits - 1] = known ? size : 0.0;
    double *newest = x->expected + (waits - 1) * count * steps;
    for (int64_t k = 0; k < count; k++)
        for (int64_t j = 0; j < steps; j++) newest[k * steps + j] = known ? found[k * horizon + f->steps[j] - 1] : 0.0;
}

/* --- linear memory ---------------------------------------------------------------------------------------------------- */

/* Write the key of the look-back before ``end``; returns the unit of errors, NaN where unknown. */
static double key_of(const Facts *f, const Stream *x, int64_t end, double size, double *key, int *seen, double *window) {
    int64_t length = f->lookback, count = 0;
    double mean = 0, squares = 0;
    for (int64_t j = 0; j < length; j++) {
        window[j] = length - j <= end ? x->known[end - length + j] : NAN;
        int there = !isnan(window[j]);
        count += there;
        mean += there ? window[j] : 0.0;
    }
    mean /= larger((double)count, 1.0);
    for (int64_t j = 0; j < length; j++) {
        window[j] = isnan(window[j]) ? 0.0 : window[j] - mean;
        squares += window[j] * window[j];
    }
    double spread = sqrt(squares / larger((double)count, 1.0)), over = spread > 1e-9 ? spread : 1.0;
    for (int64_t j = 0; j < length; j++) window[j] = window[j] / over - f->mean[j];
    key[0] = 1.0, squares = 0;
    for (int64_t i = 1; i < f->features; i++) {
        key[i] = dot(f->whitening + (i - 1) * length, window, length);
        squares += key[i] * key[i];
    }
    double calm = f->features > 1 ? larger(sqrt(squares / (double)(f->features - 1)) / f->largest_key, 1.0) : 1.0;
    for (int64_t i = 1; i < f->features; i++) key[i] /= calm;
    *seen = (double)count >= f->least_seen * (double)length;
    if (!(isfinite(size) && size > 0)) return NAN;
    return sqrt(size * smaller(larger(spread, f->least_spread * size), f->most_spread * size));
}

/* Factor packed sums with a penalty on their diagonal into ``lower`` d d. */
MANY_PROCESSORS static void factor(const double *gram, double penalty, int64_t d, double *lower) {
    for (int64_t i = 0; i < d; i++, gram += i) {
        double *row = lower + i * d;
        for (int64_t j = 0; j <= i; j++) {
            const double *other = lower + j * d;
            double value = gram[j] + (i == j ? penalty : 0.0), product = 0.0;
#pragma omp simd reduction(+ : product)
            for (int64_t c = 0; c < j; c++) product += row[c] * other[c];
            value -= product;
            row[j] = i == j ? sqrt(value) : value / other[j];
        }
    }
}

/* Write the answers a p that a block gives to a key. */
static void recall(const Facts *f, const double *key, const double *gram, const double *crosses, const int64_t *block, double *into, double *room) {
    int64_t d = f->features, width = block[3] - block[2];
    double *lower = room, *half = room + d * d, *solved = half + d, done = NAN;
    for (int64_t a = 0; a < f->answers; a++, into += width) {
        int64_t m = (int64_t)f->answer[2 * a];
        double penalty = f->answer[2 * a + 1];
        if (penalty != done) factor(gram, penalty, d, lower); /* few keys' factor stands in the corner of all keys' */
        done = penalty;
        for (int64_t i = 0; i < m; i++) half[i] = (key[i] - dot(lower + i * d, half, i)) / lower[i * d + i];
        for (int64_t i = m - 1; i >= 0; i--) {
            double value = half[i];
            for (int64_t c = i + 1; c < m; c++) value -= lower[c * d + i] * solved[c];
            solved[i] = value / lower[i * d + i];
        }
        for (int64_t p = 0; p < width; p++) into[p] = 0.0;
        for (int64_t i = 0; i < m; i++) {
            const double *cross = crosses + i * f->directions + block[2], *prior = f->prior + i * f->directions + block[2];
            for (int64_t p = 0; p < width; p++) into[p] += solved[i] * (cross[p] + penalty * prior[p]);
        }
    }
}

/* Write what a block says of its answers a p, weighed by losses a + 1. */
static void weigh(const Facts *f, int64_t b, const double *losses, const double *found, double *said) {
    const int64_t *block = f->block + b * BLOCK;
    int64_t width = block[3] - block[2];
    double least = INFINITY, total = 0;
    for (int64_t a = 0; a <= f->answers; a++) least = smaller(least, losses[a] + f->begun * f->worth[b * (f->answers + 1) + a]);
    for (int64_t p = 0; p < width; p++) said[block[2] + p] = 0.0;
    for (int64_t a = 0; a <= f->answers; a++) {
        double lost = losses[a] + f->begun * f->worth[b * (f->answers + 1) + a], weight = exp(-f->memory_pace[b] * (lost - least));
        total += weight;
        for (int64_t p = 0; p < width && a; p++) said[block[2] + p] += weight * found[(a - 1) * width + p];
    }
    for (int64_t p = 0; p < width; p++) said[block[2] + p] *= f->share[b] / total;
}

static void add_said(const Facts *f, const double *said, double unit, double *point) {
    if (isnan(unit)) return;
    for (int64_t p = 0; p < f->directions; p++) {
        const double *direction = f->directions_at + p * f->horizon;
        for (int64_t j = 0; j < f->horizon; j++) point[j] += unit * said[p] * direction[j];
    }
}

/* Add a key to the packed sums of k k', if anything was expected there. */
static void write_key(const Facts *f, double *gram, const double *key, double unit) {
    for (int64_t i = 0; i < f->features; i++)
        for (int64_t j = 0; j <= i; j++, gram++) *gram = f->decay * *gram + (unit > 0 ? key[i] * key[j] : 0.0);
}

static int64_t packed(const Facts *f) { return f->features * (f->features + 1) / 2; }

/* Add to a forecast between boundaries what the memory says there. */
static void ask_memory(const Facts *f, const Stream *x, int64_t end, double size, double *point, double *room) {
    int64_t d = f->features, done = 0;
    int seen;
    double *key = room, *said = key + d, *gram = said + f->directions, *found = gram + packed(f);
    room = found + f->answers * f->directions;
    double unit = key_of(f, x, end, size, key, &seen, room);
    memcpy(gram, x->gram, sizeof(double) * packed(f));
    memset(said, 0, sizeof(double) * f->directions);
    for (int64_t b = f->blocks - 1; b >= 0; b--) { /* from the longest delay, the fewest keys, on */
        const int64_t *block = f->block + b * BLOCK;
        for (; done < f->memory_waits - block[4]; done++) write_key(f, gram, x->keys + done * d, x->units[done]);
        if (f->share[b] == 0) continue;
        recall(f, key, gram, x->crosses, block, found, room);
        weigh(f, b, x->lost + b * (f->answers + 1), found, said);
    }
    add_said(f, said, unit, point);
}

/* Write the values that a block writes of what was expected its delay ago; returns whether they are known. */
static int realised(const Facts *f, const Stream *x, const int64_t *block, int64_t end, const double *expected, double unit, double *values) {
    int64_t start = block[0], stop = block[1], width = block[3] - block[2], origin = end - block[4] * f->patch;
    int heard = unit > 0 && origin + start >= 0;
    double length = 0;
    for (int64_t j = start; j < stop && heard; j++) heard = !isnan(x->known[origin + j]);
    for (int64_t p = 0; p < width; p++) {
        values[p] = 0.0;
        if (!heard) continue;
        double truth = dot(f->directions_at + (block[2] + p) * f->horizon + start, x->known + origin + start, stop - start);
        values[p] = (truth - expected[p]) / unit;
        length += values[p] * values[p];
    }
    double calm = larger(sqrt(length) / (f->largest_error * sqrt((double)(stop - start))), 1.0);
    for (int64_t p = 0; p < width; p++) values[p] /= calm;
    return heard;
}

/* Write at a boundary what has been realised, and add to its forecast what the memory says then. */
static void hear_memory(const Facts *f, Stream *x, int64_t end, double size, double *point, double *room) {
    int64_t d = f->features, waits = f->memory_waits, directions = f->directions, answers = f->answers, done = 1;
    int seen;
    double *key = room, *said = key + d, *projected = said + directions, *values = projected + directions;
    double *gram = values + directions, *found = gram + packed(f), *begun = found + answers * directions;
    room = begun + packed(f);
    double unit = key_of(f, x, end, size, key, &seen, room);
    int writable = seen && !isnan(unit);
    for (int64_t p = 0; p < directions; p++) {
        projected[p] = dot(f->directions_at + p * f->horizon, point, f->horizon);
        writable = writable && isfinite(projected[p]);
    }
    if (!writable) memset(projected, 0, sizeof(double) * directions);
    memset(said, 0, sizeof(double) * directions);
    memcpy(gram, x->gram, sizeof(double) * packed(f));
    write_key(f, gram, x->keys, x->units[0]);
    memcpy(begun, gram, sizeof(double) * packed(f));
    double *thought = x->thought, *told = x->said;
    for (int64_t b = 0; b < f->blocks; b++) {
        const int64_t *block = f->block + b * BLOCK;
        thought += block[4] * (block[3] - block[2]);
        told += answers * block[4] * (block[3] - block[2]);
    }
    for (int64_t b = f->blocks - 1; b >= 0; b--) { /* from the longest delay, the fewest keys, on */
        const int64_t *block = f->block + b * BLOCK;
        int64_t width = block[3] - block[2], delay = block[4], due = waits - delay, rows = block[1] - block[0];
        thought -= delay * width, told -= answers * delay * width;
        for (; done <= due; done++) write_key(f, gram, x->keys + done * d, x->units[done]);
        int heard = realised(f, x, block, end, thought, x->units[due], values);
        for (int64_t i = 0; i < d; i++)
            for (int64_t p = 0; p < width; p++) {
                double *cross = x->crosses + i * directions + block[2] + p;
                *cross = f->decay * *cross + x->keys[due * d + i] * values[p];
            }
        double *losses = x->lost + b * (answers + 1);
        for (int64_t a = 0; a <= answers; a++) {
            double missed = 0;
            for (int64_t p = 0; p < width; p++) {
                double off = values[p] - (a ? told[(a - 1) * width + p] : 0.0);
                missed += off * off;
            }
            losses[a] = f->memory_fade * losses[a] + (heard ? sqrt(missed) / sqrt((double)rows) : 0.0);
        }
        memset(found, 0, sizeof(double) * answers * width);
        if (f->share[b] != 0) recall(f, key, gram, x->crosses, block, found, room);
        weigh(f, b, losses, found, said);
        memmove(thought, thought + width, sizeof(double) * (delay - 1) * width);
        memmove(told, told + answers * width, sizeof(double) * (delay - 1) * answers * width);
        memcpy(thought + (delay - 1) * width, projected + block[2], sizeof(double) * width);
        memcpy(told + (delay - 1) * answers * width, found, sizeof(double) * answers * width);
    }
    memcpy(x->gram, begun, sizeof(double) * packed(f));
    memmove(x->keys, x->keys + d, sizeof(double) * (waits - 1) * d);
    memmove(x->units, x->units + 1, sizeof(double) * (waits - 1));
    memcpy(x->keys + (waits - 1) * d, key, sizeof(double) * d);
    x->units[waits - 1] = writable ? unit : 0.0;
    add_said(f, said, unit, point);
}

/* --- spread ----------------------------------------------------------------------------------------------------------- */

/* Make errors of forecasts of the tracked steps after ``origin`` rows of a call, where these are there. */
static void realise(const Facts *f, const Stream *x, int64_t origin, double *points) {
    for (int64_t i = 0; i < f->blocks_heard * f->tracked_each; i++) {
        int64_t place = origin + f->tracked[i] - 1;
        if (place >= 0 && place < x->t) points[i] = x->rows[place] - points[i];
    }
}

static double level_of(const Facts *f, const Stream *x, int64_t b) {
    double usual = 0, doubt;
    for (int64_t k = 0; k < f->tracked_each; k++) usual += f->usual[b * f->tracked_each + k];
    doubt = f->doubt * exp(x->logs[2 * (f->spread_waits - 1)]) * usual / (double)f->tracked_each;
    return log((x->level[2 * b] + doubt) / (x->level[2 * b + 1] + doubt));
}

static double profile_of(const Facts *f, const Stream *x, int64_t p) {
    double doubt = 4 * f->doubt;
    return log((x->by_phase[2 * p] + doubt * f->profile[p]) / (x->by_phase[2 * p + 1] + doubt));
}

/* Return what a column of the table of the young says at an age. */
static double at_age(const Facts *f, double age, int64_t column) {
    const double *table = f->young;
    double at = log(larger(age, 1.0));
    if (at <= table[0]) return table[column];
    for (int64_t i = 1; i < f->ages; i++)
        if (at <= table[6 * i]) {
            double part = (at - table[6 * (i - 1)]) / (table[6 * i] - table[6 * (i - 1)]);
            return table[6 * (i - 1) + column] + part * (table[6 * i + column] - table[6 * (i - 1) + column]);
        }
    return table[6 * (f->ages - 1) + column];
}

/* Move the factors below and above the median by scaled errors b k. */
static void move_factors(const Facts *f, Stream *x, const double *scaled, double *moved) {
    int64_t blocks = f->blocks_heard, each = f->tracked_each;
    double aim = 0;
    for (int64_t q = 0; q < f->misses; q++) aim += f->missed[q];
    memset(moved, 0, sizeof(double) * 2 * blocks);
    for (int64_t b = 0; b < blocks; b++) {
        int64_t count = 0;
        for (int64_t k = 0; k < each; k++) count += isfinite(scaled[b * each + k]) ? 1 : 0;
        for (int64_t k = 0; k < each; k++) {
            int64_t at = b * each + k;
            double off = scaled[at] - f->middle[at];
            for (int64_t side = 0; side < 2 && isfinite(scaled[at]); side++) {
                double factor = 0, missed = -aim, beyond = side ? off : -off;
                for (int64_t j = 0; j < blocks; j++) factor += f->shares[at * blocks + j] * x->factors[2 * j + side];
                for (int64_t q = 0; q < f->misses; q++)
                    missed += log(larger(beyond / f->widths[(at * 2 + side) * f->misses + q], 1e-12)) > factor;
                moved[2 * b + side] += missed * f->spread_pace / (double)f->misses / (double)count;
            }
        }
    }
    for (int64_t i = 0; i < 2 * blocks; i++)
        x->factors[i] = smaller(larger(x->factors[i] + moved[i], -f->most_factor), f->most_factor);
}

/* Hear at a boundary, after so many rows of all, and keep its forecast and its features. */
static void hear(const Facts *f, Stream *x, int64_t i, int64_t read, const double *point, const double *features, double age, double *room) {
    int64_t blocks = f->blocks_heard, each = f->tracked_each, waits = f->spread_waits, size = blocks * each;
    double *points = room, *scaled = room + size, *spoken = scaled + size, fade = f->fade, logs[2];
    room = spoken + 2 * f->phases;
    for (int64_t k = 0; k < size; k++) points[k] = point[f->tracked[k] - 1], scaled[k] = NAN;
    memset(spoken, 0, sizeof(double) * 2 * f->phases);
    realise(f, x, i, points);
    for (int c = 0; c < 2; c++) logs[c] = log(larger(isnan(features[c]) ? 0.0 : features[c], f->smallest_size));
    double apart = logs[1] - logs[0], more = f->ages ? at_age(f, age, 1) + at_age(f, age, 2) * apart : 0.0;
    logs[1] = f->weights[3] * logs[0] + f->weights[4] * logs[1] + more;
    logs[0] += more;
    for (int64_t b = 0; b < blocks; b++) {
        int64_t due = waits - f->delays[b], count = 0;
        double error = 0, usual = 0;
        for (int64_t k = 0; k < each; k++) {
            int64_t at = b * each + k;
            double off = x->waiting[due * size + at], level = 0, unit = exp(x->logs[2 * due]) * f->usual[at];
            if (!isfinite(off)) continue;
            error += smaller(fabs(off), f->largest_heard * unit);
            usual += unit;
            count++;
            for (int64_t j = 0; j < blocks; j++) level += x->levels[due * blocks + j] * f->shares[at * blocks + j];
            scaled[at] = off / exp(f->weights[0] + x->logs[2 * due + 1] + f->weights[1] * level);
            int64_t place = read - f->delays[b] * f->patch + f->tracked[at] - 1;
            int64_t phase = modulo(place, f->season) * f->phases / f->season;
            double large = smaller(fabs(scaled[at]) / f->typical[at], f->largest_heard);
            spoken[2 * phase] += large;
            spoken[2 * phase + 1] += 1;
            scaled[at] /= exp(f->weights[2] * profile_of(f, x, phase));
        }
        x->level[2 * b] = fade * x->level[2 * b] + (count ? error / (double)count : 0.0);
        x->level[2 * b + 1] = fade * x->level[2 * b + 1] + (count ? usual / (double)count : 0.0);
    }
    double slow = sqrt(sqrt(fade));
    for (int64_t p = 0; p < 2 * f->phases; p++) x->by_phase[p] = slow * x->by_phase[p] + spoken[p];
    if (f->spread_pace > 0) move_factors(f, x, scaled, room);
    memmove(x->waiting, x->waiting + size, sizeof(double) * (waits - 1) * size);
    memmove(x->logs, x->logs + 2, sizeof(double) * (waits - 1) * 2);
    memmove(x->levels, x->levels + blocks, sizeof(double) * (waits - 1) * blocks);
    memcpy(x->waiting + (waits - 1) * size, points, sizeof(double) * size);
    memcpy(x->logs + 2 * (waits - 1), logs, sizeof(double) * 2);
    for (int64_t b = 0; b < blocks; b++) x->levels[(waits - 1) * blocks + b] = level_of(f, x, b);
}

/* --- bounds ----------------------------------------------------------------------------------------------------------- */

static void bound(Stream *x, double value) {
    if (isnan(value)) return;
    for (int side = 0; side < 2; side++) {
        double now = x->extremes[side];
        if (isnan(now) || (side ? value > now : value < now)) x->extremes[side] = value, x->touched[side] = 1;
        else if (value == now) x->touched[side] += 1;
    }
    x->heard[0] += 1;
}

static void limits_of(const Facts *f, const Stream *x, double *into) {
    double often = larger(f->often * x->heard[0], f->fewest);
    for (int side = 0; side < 2; side++) {
        double sign = side ? 1.0 : -1.0;
        int one_sign = x->heard[0] > 0 && sign * (x->extremes[side] - x->least) <= 0;
        into[side] = x->touched[side] >= often ? x->extremes[side] : one_sign ? x->least : sign * INFINITY;
    }
}

/* --- all of it -------------------------------------------------------------------------------------------------------- */

static void take_apart(const Facts *f, double *state, Stream *x) {
    const int64_t *at = f->places + 1;
    double **parts[PARTS - 1] = {
        &x->age,     &x->last,     &x->range,   &x->steps,   &x->total,  &x->moment,   &x->profile, &x->squares,
        &x->smoothers, &x->losses, &x->errors,  &x->slopes,  &x->expected, &x->sizes,  &x->gram,    &x->crosses,
        &x->lost,    &x->keys,     &x->thought, &x->said,    &x->units,  &x->waiting,  &x->logs,    &x->levels,
        &x->level,   &x->by_phase, &x->factors, &x->extremes, &x->touched, &x->heard,
    };
    for (int i = 0; i < PARTS - 1; i++) *parts[i] = state + at[i];
    x->context = at[0];
}

EXPORTED int64_t titans_base_version(void) { return VERSION; }

/* Copy a stream's state between one vector and the parts that a series keeps, in each of which channels follow each other. */
static void copy_state(const Facts *f, double *state, const uintptr_t *parts, int64_t channel, int out) {
    for (int i = 0; i < PARTS; i++) {
        int64_t size = f->places[i + 1] - f->places[i];
        if (!size) continue;
        double *there = (double *)parts[i] + channel * size, *here = state + f->places[i];
        memcpy(out ? there : here, out ? here : there, sizeof(double) * size);
    }
}

/* Read rows (s, t) of streams, ``channels`` of them a series, on from the parts of states at ``before`` (series, PARTS);
 * what each series has read so far is ``firsts`` (series,), the long-run scale of a stream its level and spread (s,).
 * States are written to ``after``, unless it is NULL. At each of the ends (n,) stand points (s, n, f), limits (s, n, 2),
 * and, unless ``heard`` is NULL, what was heard of errors: level (s, n, b), profile (s, n, p), factors (s, n, b, 2),
 * features (s, n, 2), age (s, n). Returns 0, or 1 where memory is short.
 */
EXPORTED int titans_base_read(
    const Facts *f, int64_t streams, int64_t channels, int64_t t, int64_t n, const int64_t *firsts, const double *rows,
    const double *actual, const double *level, const double *spread, const uintptr_t *before, const uintptr_t *after,
    const int64_t *ends, double *point, double *limits, double *heard, double *profile, double *factors, double *features,
    double *age
) {
    int64_t m = f->season, horizon = f->horizon, context = f->places[1], widest = f->lookback + 2 * m;
    for (int64_t r = 0; r < f->specs; r++) widest = widest > f->spec[r * SPEC + 2] ? widest : f->spec[r * SPEC + 2];
    int64_t scratch = widest + f->smoothers + 8 * (f->candidates + 1) + 2 * packed(f) + f->features * (f->features + 8) +
                      (4 + 2 * f->answers) * f->directions + (2 + f->blocks_heard) * (f->tracked_each * f->blocks_heard + 2) +
                      2 * f->phases + 64;
    int64_t size = context + t + f->forms * (m + t) + m * (1 + f->forms) + (f->candidates + 1) * horizon + scratch;
    size += f->places[PARTS];
    double *arena = malloc(sizeof(double) * size);
    if (!arena) return 1;
    Stream x;
    Seen seen;
    x.t = t;
    x.known = arena;
    x.filled = x.known + context + t;
    seen.last = x.filled + f->forms * (m + t);
    seen.profiles = seen.last + m;
    double *each = seen.profiles + f->forms * m, *said = each + f->candidates * horizon, *state = said + horizon;
    double *room = state + f->places[PARTS];
    take_apart(f, state, &x);
    for (int64_t s = 0; s < streams; s++) {
        int64_t series = s / channels, channel = s % channels, first = firsts[series];
        copy_state(f, state, before + series * PARTS, channel, 0);
        x.rows = rows + s * t, x.actual = actual + s * t;
        x.zero = (isnan(level[s]) ? 1.0 : level[s]) / (isnan(spread[s]) ? 1.0 : spread[s]);
        x.least = f->bounded ? -level[s] / spread[s] : NAN;
        memcpy(x.known, state, sizeof(double) * context);
        memcpy(x.known + context, x.rows, sizeof(double) * t);
        memset(x.filled, 0, sizeof(double) * f->forms * (m + t));
        memcpy(x.filled, x.last, sizeof(double) * m);
        for (int64_t j = 0; j < m && f->forms == 2; j++) x.filled[m + t + j] = log(larger(x.last[j] + x.zero, f->smallest));
        int64_t newest = -(first % f->patch), asked = 0; /* the last boundary, from the call's first row */
        for (int64_t w = 0; w < f->spread_waits && t; w++)
            realise(f, &x, newest - f->patch * (f->spread_waits - 1 - w), x.waiting + w * f->blocks_heard * f->tracked_each);
        for (int64_t i = 0; i <= t; i++) {
            int boundary = i > 0 && (first + i) % f->patch == 0;
            if (boundary || (asked < n && ends[asked] == i)) {
                int64_t end = context + i;
                double both[2], middle = 0, squares = 0;
                look(f, &x, i, &seen, room);
                foretell(f, &x, i, s, &seen, each, room);
                if (boundary && f->prefers) hear_preference(f, &x, end, each, seen.size, room);
                mix(f, each, x.slopes, said, room);
                for (int64_t j = 0; j < m; j++) middle += seen.last[j] / m;
                for (int64_t j = 0; j < m; j++) squares += (seen.last[j] - middle) * (seen.last[j] - middle) / m;
                both[0] = seen.size;
                both[1] = m > 1 ? larger(sqrt(squares), 0.01 * seen.size) : seen.size;
                if (boundary && f->features) hear_memory(f, &x, end, seen.size, said, room);
                else if (f->features) ask_memory(f, &x, end, seen.size, said, room);
                if (boundary) hear(f, &x, i, first + i, said, both, seen.age, room);
                for (; asked < n && ends[asked] == i; asked++) {
                    int64_t at = s * n + asked;
                    memcpy(point + at * horizon, said, sizeof(double) * horizon);
                    limits_of(f, &x, limits + at * 2);
                    if (!heard) continue;
                    for (int64_t b = 0; b < f->blocks_heard; b++) heard[at * f->blocks_heard + b] = level_of(f, &x, b);
                    for (int64_t p = 0; p < f->phases; p++) profile[at * f->phases + p] = profile_of(f, &x, p);
                    memcpy(factors + at * 2 * f->blocks_heard, x.factors, sizeof(double) * 2 * f->blocks_heard);
                    memcpy(features + at * 2, both, sizeof(double) * 2);
                    age[at] = seen.age;
                }
            }
            if (i < t) {
                read_row(f, &x, i);
                bound(&x, x.actual[i]);
            }
        }
        for (int64_t j = 0; j < m; j++) x.last[j] = j >= m - x.age[0] ? x.filled[t + j] : 0.0;
        turn(x.profile, f->forms, m, t, room);
        if (f->judged) turn(x.errors, f->forms * f->smoothers, m, t, room);
        memcpy(state, x.known + t, sizeof(double) * context);
        if (after) copy_state(f, state, after + series * PARTS, channel, 1);
    }
    free(arena);
    return 0;
}
