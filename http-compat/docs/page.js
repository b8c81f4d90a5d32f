// Shows the description that the address asks for. Nothing is asked of anybody but the node: what Swagger UI
// would have checked elsewhere is not checked.
const whole = new URLSearchParams(location.search).get('of') !== 'public';
SwaggerUIBundle({
  url: whole ? 'openapi.json' : 'openapi/public.json',
  dom_id: '#api',
  deepLinking: true,
  docExpansion: whole ? 'none' : 'list',
  validatorUrl: null,
});
