typedef ngx_str_t ngx_ws_bus_pattern_t;
static inline ngx_int_t ngx_ws_bus_pattern_compile(ngx_ws_bus_pattern_t *p, ngx_str_t *s) { *p = *s; return NGX_OK; }
static inline ngx_uint_t ngx_ws_bus_pattern_match(ngx_ws_bus_pattern_t *p, ngx_str_t *c) {
    size_t n = p->len;
    if (n && p->data[n - 1] == '*') { while (n && p->data[n-1] == '*') n--; return c->len >= n && ngx_memcmp(p->data, c->data, n) == 0; }
    return c->len == n && ngx_memcmp(p->data, c->data, n) == 0;
}
