FROM node:24-bookworm-slim AS build
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci
COPY tsconfig.json tsconfig.build.json ./
COPY src src
RUN npm run build

# What runs needs no compiler, and no second Node.js: the optional packages are for machines without the right one.
FROM node:24-bookworm-slim AS modules
WORKDIR /app
COPY package.json package-lock.json .npmrc ./
RUN npm ci --omit=dev --omit=optional && npm cache clean --force

FROM node:24-bookworm-slim
ENV NODE_ENV=production
COPY --from=modules /app/node_modules /app/node_modules
COPY --from=build /app/dist /app/dist
COPY package.json LICENSE /app/
COPY deploy/healthcheck.mjs deploy/make-bucket.mjs /app/deploy/
RUN mkdir /data && chown node:node /data
USER node
# Data folders have relative names by default (data/...): in the volume, from here.
WORKDIR /
VOLUME /data
# HTTP, and gossip over TCP and UDP.
EXPOSE 8080 7946/tcp 7946/udp
HEALTHCHECK --interval=5s --timeout=3s --start-period=30s --retries=3 CMD ["node", "/app/deploy/healthcheck.mjs"]
# Node.js itself is the process that gets SIGTERM: it finishes what is under way.
CMD ["node", "/app/dist/main.js"]
